"""What each card gets just by being in the registry."""

import logging
import re

import pytest
from django.db import connection
from django.utils import timezone

from integrations import clients, docs, registry, services
from integrations.kit.addresses import Address
from integrations.kit.card import Lines
from integrations.kit.settings import STANDARD
from integrations.models import Connection, Credential
from integrations.secrets import CannotUnseal
from tests.factories import make_account

pytestmark = pytest.mark.django_db
CARDS = pytest.mark.parametrize("card", registry.CARDS.values(), ids=registry.CARDS)


def filled(card) -> dict[str, str]:
    """A value for each field; nobody listens at a merchant's address."""
    special = {card.address: "http://127.0.0.1:9"}
    return {
        f.name: special.get(f.name)
        or ("" if isinstance(f, Lines) else "4711" if getattr(f, "digits", False) else f"value-of-{f.name}")
        for f in card.credentials
    }


@pytest.fixture
def link():
    account = make_account()

    def make(card) -> Connection:
        return services.connection_of(account_id=account.pk, slug=card.slug)

    return make


@CARDS
def test_everything_shown_is_explained(card):
    for declared in (*card.credentials, *card.settings):
        assert declared.label and declared.help.endswith("."), declared.name
    for flag in card.settings:
        assert flag.effect.endswith("."), flag.name
    assert card.steps and card.summary
    for name, said in card.capabilities.items():
        assert said == "yes" or said.endswith("."), name  # the reason why not
    for stream in card.streams:
        assert not stream.if_empty or stream.if_empty.endswith("."), stream.name
        assert stream.if_empty or stream.name not in ("customers", "sales", "locations"), stream.name


@CARDS
def test_each_standard_setting_is_served_or_its_absence_explained(card):
    """Settings of the merchant's choices, or the reason why not: nothing is left unsaid in the grid."""
    served = {one.name for one in card.settings}
    assert not served & set(card.unserved)
    assert served | set(card.unserved) == {made(card.title).name for made in STANDARD}
    assert all(why.endswith(".") for why in card.unserved.values())


VENDORS = ("Cova", "Clover", "Dutchie", "Treez", "Square", "Lightspeed", "Flowhub", "Korona", "Meadow", "Blaze",
           "BLAZE", "Greenbits", "Leaflogix", "Buddi", "GrowFlow", "IndicaOnline", "Weedmaps", "Shopify")  # fmt: skip


@CARDS
def test_fault_7_3_a_card_speaks_of_its_own_pos_only(card):
    """Everything a merchant reads comes from the declaration, and names no other vendor; so do the docs made of it."""
    said = [card.summary, card.fee, *card.steps, *card.capabilities.values(), *(s.if_empty for s in card.streams)]
    for declared in (*card.credentials, *card.settings):
        said += [declared.label, declared.help, declared.placeholder]
    for flag in card.settings:
        said += [flag.effect, flag.warning]
    words = set(re.findall(r"\w+", " ".join(said) + " " + docs.page(card)))
    assert card.title.split()[0] in words
    assert not {name for name in VENDORS if name in words and name not in card.title}


@CARDS
def test_an_empty_form_names_each_missing_field(card, link):
    if not card.credentials:
        pytest.skip("nothing to enter")
    with pytest.raises(services.Problems) as problems:
        services.save_credential(connection=link(card), given={})
    assert set(problems.value.fields) == {f.name for f in card.credentials if f.required}


@CARDS
@pytest.mark.parametrize("bad", ["x" * 8001, "nul\x00"])
def test_a_value_that_cannot_be_is_refused_by_its_field(card, link, bad):
    for declared in card.credentials:
        with pytest.raises(services.Problems) as problems:
            services.save_credential(connection=link(card), given=filled(card) | {declared.name: bad})
        assert set(problems.value.fields) == {declared.name}


@CARDS
def test_a_field_that_the_card_does_not_have_is_refused(card, link):
    with pytest.raises(services.Problems, match="no field named shoe_size"):
        services.save_credential(connection=link(card), given=filled(card) | {"shoe_size": "44"})
    with pytest.raises(services.Problems, match="no setting named shoe_size"):
        services.save_settings(connection=link(card), given={"shoe_size": True}, now=timezone.now())


@CARDS
def test_secrets_are_sealed_and_a_blank_keeps_them(card, link):
    given = filled(card)
    credential = services.save_credential(connection=link(card), given=given)
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets, values::text FROM integrations_credential")
        sealed, shown = cursor.fetchone()
    for name in card.secret_names:
        assert given[name] not in sealed + shown
    again = services.save_credential(
        connection=credential.connection, given=given | dict.fromkeys(card.secret_names, ""), credential=credential
    )
    stored = Credential.unscoped.get(pk=again.pk).secrets
    assert stored == {name: given[name] for name in card.secret_names}


@CARDS
def test_a_key_that_does_not_fit_raises(card, link, settings):
    from cryptography.fernet import Fernet

    credential = services.save_credential(connection=link(card), given=filled(card))
    old = settings.SEAL_KEYS
    settings.SEAL_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(CannotUnseal):
        Credential.unscoped.get(pk=credential.pk)
    settings.SEAL_KEYS = [*settings.SEAL_KEYS, *old]  # the new key first, the old one still opens
    assert set(Credential.unscoped.get(pk=credential.pk).secrets) == card.secret_names


@CARDS
def test_where_the_vendor_lives_is_not_the_merchants_to_say(card, settings):
    assert clients.base_url_of(card) == settings.CARD_BASE_URLS.get(card.slug, card.base_url)
    assert card.base_url.startswith("https://") or card.client is None or card.address
    typed = [f for f in (*card.credentials, *card.settings) if "url" in f.name or "host" in f.name]
    # The one exception looks where it goes (kit/addresses.py).
    assert [f.name for f in typed] == ([card.address] if card.address else [])
    assert all(isinstance(f, Address) for f in typed)


@CARDS
def test_nobody_there_is_a_sentence_without_secrets(card, link, settings, caplog):
    if card.client is None:
        pytest.skip("asks nobody")
    settings.CARD_BASE_URLS = {card.slug: "http://127.0.0.1:9"}  # nobody listens there
    given = filled(card)
    credential = services.save_credential(connection=link(card), given=given)
    with caplog.at_level(logging.DEBUG), pytest.raises(services.VendorError) as failure:
        services.connect(credential=credential, now=timezone.now())
    credential.refresh_from_db()
    assert credential.message == failure.value.message and credential.message.endswith(".")
    assert credential.state == "draft"
    everything = caplog.text + repr(failure.value) + failure.value.detail + credential.message
    for name in card.secret_names:
        assert given[name] not in everything


@CARDS
def test_it_can_be_connected_by_command(card, link, monkeypatch):
    """A card that asks nobody connects at once; every other says in a sentence why it does not."""
    if card.client is not None:
        pytest.skip("asks its POS")
    credential = services.save_credential(connection=link(card), given={})
    verified = services.connect(credential=credential, now=timezone.now())
    credential.refresh_from_db()
    assert (credential.state, credential.origin.identity) == ("connected", verified.identity)
    again = services.save_credential(connection=credential.connection, given={})
    with pytest.raises(services.Refused, match="already connected"):
        services.connect(credential=again, now=timezone.now())
    services.disconnect(credential=credential)
    services.connect(credential=credential, now=timezone.now())
    assert Credential.unscoped.get(pk=credential.pk).origin_id == credential.origin_id
