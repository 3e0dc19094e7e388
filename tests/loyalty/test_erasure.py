"""Removing a person on request: what goes, what stays, and that nothing brings him back."""

import pytest

from aiqsync.accounts.tenancy import acting_in
from loyalty import audits, erasure
from loyalty.models import Entry, Persona, Wallet

from .removed import EMAIL, NOON, PHONE, Somebody, everywhere

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop():
    return Somebody()


def test_smoke(shop):
    shop.everything()
    print(shop.preview())
    done = shop.erase()
    print(done)
    for word in (PHONE, PHONE[2:], EMAIL, "Ada", "6045550177", "moss"):
        print(word, everywhere(word))
    for v in audits.violations():
        print(v)
    assert 0
