"""Imported balances and the accrual start are looked at together."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from aiqsync.accounts.tenancy import acting_in
from loyalty import double_counting, ledger
from loyalty.models import Programme, SourceStart
from tests.factories import make_account, make_persona, make_user
from tests.records import make_origin

LATE = datetime(2026, 3, 3, 7, 30, tzinfo=UTC)  # still 2 March in Vancouver


@pytest.fixture
def origin(db):
    found = make_origin(make_account())
    with acting_in(found.account_id):
        yield found


def imported(origin, customer="c1", at=LATE):
    persona = make_persona(origin.account)
    ledger.adjust(
        account_id=origin.account_id, persona_id=persona.pk, points=Decimal(120), kind="import",
        key=f"import:{origin.pk}:{customer}", now=at,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("start", "of_source", "warned"),
    [
        (None, None, True),
        (date(2026, 3, 1), None, True),
        (date(2026, 3, 2), None, True),  # the day itself is in the balances
        (date(2026, 3, 3), None, False),
        (date(2026, 3, 9), None, False),
        (date(2026, 3, 3), date(2026, 3, 2), True),  # the source's own date counts
        (date(2026, 3, 1), date(2026, 3, 3), False),
    ],
)
def test_fault_2_6_the_two_dates_are_checked_together(origin, client, start, of_source, warned):
    imported(origin)
    Programme.objects.update(accrual_start=start)
    if of_source:
        SourceStart.objects.create(origin=origin, starts_on=of_source)
    found = double_counting.overlaps(account_id=origin.account_id)
    assert bool(found) is warned
    client.force_login(make_user(origin.account))
    html = client.get("/admin/settings/loyalty/").content.decode()
    assert ("are counted twice. Let it earn from 3 Mar 2026 on." in html) is warned
    if warned:
        assert found[0].should_start == date(2026, 3, 3)


def test_fault_2_6_before_anything_is_imported(origin):
    """What an import asks with the day it was given."""
    ask = {"source": "Cova", "imported_on": date(2026, 3, 2)}
    assert double_counting.overlap_of(**ask, starts_on=date(2026, 3, 3)) is None
    said = double_counting.overlap_of(**ask, starts_on=date(2026, 2, 1)).sentence
    assert said.startswith(
        "The balances of Cova were imported on 2 Mar 2026, and its sales since 1 Feb 2026 earn as well"
    )


def test_nothing_imported_nothing_said_and_each_account_for_itself(origin):
    other = make_origin(make_account("Other"))
    with acting_in(other.account_id):
        imported(other)
        assert len(double_counting.overlaps(account_id=other.account_id)) == 1
    assert double_counting.overlaps(account_id=origin.account_id) == []
