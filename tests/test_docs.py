"""Documentation that is made from the code, and the words that must stand in it."""

from pathlib import Path

import pytest
from django.core.management import call_command

from integrations import docs, registry

ROOT = Path(__file__).resolve().parent.parent


def test_the_cards_pages_are_up_to_date():
    call_command("carddocs", "--check")


@pytest.mark.parametrize("card", registry.CARDS.values(), ids=registry.CARDS)
def test_every_field_and_setting_is_explained(card):
    text = docs.page(card)
    for declared in (*card.credentials, *card.settings):
        assert declared.help, declared.name
        assert f"`{declared.name}`" in text
    for flag in card.settings:
        assert flag.effect, f"{flag.name} does not say what it does"
    for secret in card.secret_names:
        assert f"{secret}=env:" in text


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "docs/architecture.md", "docs/deploy.md"])
def test_pages_that_others_link_to(name):
    assert (ROOT / name).exists()


def test_links_in_the_readme_lead_somewhere():
    import re

    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
