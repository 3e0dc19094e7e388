"""Whatever a POS does to us leaves a sentence on the card that a merchant understands, and is gone when it is over.

Each kind of the stand-ins' fault list (integrations/sandbox/faults.py), while connecting and while reading.
"""

import re
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone

from integrations import clients, services
from integrations.kit import client as http
from integrations.models import Credential, Customer
from integrations.sandbox.faults import KINDS
from tests.factories import make_user

pytestmark = pytest.mark.django_db

# What the merchant reads first; `{pos}` is the card's name.
TOLD = {
    "429": "{pos} asks us to slow down",
    "429_concurrent": "{pos} asks us to slow down",
    "429_app": "{pos} asks us to slow down",
    "429_app_concurrent": "{pos} asks us to slow down",
    "500": "{pos} has a fault on its side",
    "503": "{pos} has a fault on its side",
    "timeout": "{pos} did not answer in time",
    "reset": "The connection to {pos} broke off",
    "lost": "The connection to {pos} broke off",
    "cut": "The connection to {pos} broke off",
    "html": "{pos} answered with a web page instead of data",
    "redirect": "{pos} sent us on to another address",
    "garbled": "{pos} sent an answer that cannot be read",
    "huge": "{pos} sent more than 10 MB in one answer",
}
REFUSED = {
    ("cova", "bad_password"): "Cova does not accept the username and password",
    ("cova", "temporary_password"): "The password Cova sent is temporary",
    ("cova", "no_permission"): 'permission "Manage Dispensary Specific Elements" is missing',
    ("clover", "bad_password"): "the API token was revoked",
    ("clover", "temporary_password"): "the API token was revoked",
    ("clover", "no_permission"): "“Customers: Read” is not ticked",
}
HARMLESS = {"duplicate", "repeat", "slow", "shift"}  # nothing is lost and nobody need know
CLOVERS_OWN = {"429_concurrent", "429_app", "429_app_concurrent"}
CASES = [
    (slug, kind) for slug in ("cova", "clover") for kind in TOLD if slug == "clover" or kind not in CLOVERS_OWN
]  # fmt: skip
# Words of programmers; a number in brackets after the sentence's words is for whoever is asked for help.
JARGON = re.compile(
    r"JSON|null|None|Error\b|Exception|Traceback|OAuth|http_|\b4\d\d\b(?! Too)|invalid_|timed out|socket|SSL|\{|\}|_"
)


@pytest.fixture
def quick(monkeypatch):
    """Answers are given up after a moment instead of 25 s."""
    monkeypatch.setattr(http, "TIMEOUTS_S", (1, 0.5))


def test_every_kind_of_the_list_is_spoken_for():
    assert set(TOLD) | {kind for _, kind in REFUSED} | HARMLESS == KINDS


def notes(till) -> list[list[str]]:
    """The paragraphs of each note on the card's page, as text."""
    browser = Client()
    browser.force_login(make_user(till.account))
    answer = browser.get(f"/admin/integrations/{till.card}/")
    assert answer.status_code == 200
    page = answer.content.decode()
    found = re.findall(r'<div class="iq-note[^"]*"[^>]*>(.*?)</div>', page, re.S)
    found += re.findall(r'<p class="iq-error[^"]*"[^>]*>(.*?)</p>', page, re.S)
    return [[_text(one) for one in re.findall(r"<p[^>]*>(.*?)</p>", part, re.S) or [part]] for part in found]


def _text(html: str) -> str:
    html = re.sub(r"<span class=\"material-symbols-outlined\".*?</span>", "", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


def understood(sentence: str) -> None:
    """A whole sentence of plain words."""
    assert sentence.endswith("."), sentence
    assert sentence[0].isupper() or sentence[0] == "“", sentence
    assert len(sentence.split()) >= 5, sentence
    assert not JARGON.search(sentence), sentence


def of_fault(till) -> list[list[str]]:
    """The notes without the one about locations that no store is named for."""
    return [one for one in notes(till) if "not mapped to a store" not in one[0]]


def over(till) -> None:
    """The fault is over, and so is every wait that came of it."""
    till.control("faults", clear=True)
    clients._limiters.clear()


@pytest.mark.parametrize(("till", "kind"), CASES, indirect=["till"])
def test_while_reading(till, kind, quick):
    till.connect()
    who = till.person("Ada", "3035550142", till.near)
    till.fault(kind, times=-1, seconds=1)
    till.sync("customers")
    (told,) = of_fault(till)
    assert told[0] == "Customers could not be read"
    assert told[1].startswith(TOLD[kind].format(pos=till.card.title()))
    understood(told[1])
    assert "It is tried again" in told[2] and "by itself" in told[2] and "What was read stays." in told[2]
    over(till)
    assert till.sync("customers")["customers"].status == "done"
    assert of_fault(till) == [] and Customer.unscoped.filter(external_id=who).exists()


@pytest.mark.parametrize(("till", "kind"), CASES, indirect=["till"])
def test_while_connecting(till, kind, quick):
    till.fault(kind, times=-1, seconds=1)
    with pytest.raises(services.VendorError):
        till.connect()
    (told,) = notes(till)
    assert told[0] == "Not connected yet"
    said = told[1].replace("Cova's log-in", "Cova")  # which is asked first
    assert said.startswith((TOLD[kind].format(pos=till.card.title()), "Cova does not answer properly, most likely for"))
    understood(told[1])
    assert "What you entered is stored" in told[2] and "Press Connect to try again." in told[2]
    till.control("faults", clear=True)
    clients._limiters.clear()
    services.connect(credential=_latest(till), now=timezone.now())
    assert of_fault(till) == []


@pytest.mark.parametrize(("till", "kind"), list(REFUSED), indirect=["till"])
def test_a_refusal_names_what_to_do_and_connecting_again_ends_it(till, kind):
    till.connect()
    till.person("Ada", "3035550142", till.near)
    till.sync("customers")
    path = "/v3/merchants/" if till.card == "clover" else "/crm/"
    till.fault(kind, match=path, times=-1)
    till.sync("customers")
    (told,) = of_fault(till)
    said = REFUSED[till.card, kind]
    assert told[0] == f"{till.card.title()} does not let us in" and said in told[1]
    understood(told[1])
    assert "until the credential works again" in told[2] and "What was read stays" in told[2]
    asked = len(till.calls())
    till.sync("customers")
    assert len(till.calls()) == asked  # nobody is hammered with what is refused
    over(till)
    services.connect(credential=_latest(till), now=timezone.now())
    till.sync("customers")
    assert of_fault(till) == []


@pytest.mark.parametrize(("till", "kind"), list(REFUSED), indirect=["till"])
def test_a_refusal_while_connecting_stands_beside_its_field(till, kind):
    path = "/v3/merchants/" if till.card == "clover" else "/crm/"
    till.fault(kind, match=path, times=-1)
    with pytest.raises(services.BadCredentials) as refused:
        till.connect()
    assert refused.value.setting in {field.name for field in services.card(till.card).credentials}
    told = [text for note in notes(till) for text in note if text.endswith(".")]
    assert refused.value.message in told
    understood(refused.value.message)
    till.control("faults", clear=True)
    services.connect(credential=_latest(till), now=timezone.now())
    assert of_fault(till) == []


@pytest.mark.parametrize(
    ("till", "kind"), [(slug, kind) for slug in ("cova", "clover") for kind in sorted(HARMLESS)], indirect=["till"]
)
def test_what_harms_nobody_is_told_to_nobody(till, kind):
    till.connect()
    who = [till.person(f"Ada{n}", f"30355501{n:02}", till.near) for n in range(3)]
    till.fault(kind, times=1, seconds=0.1)
    till.sync("customers")
    till.sync("customers")
    assert of_fault(till) == []
    assert Customer.unscoped.filter(external_id__in=who).count() == 3


def _latest(till) -> Credential:
    return Credential.unscoped.select_related("connection", "origin").filter(account=till.account).latest("id")
