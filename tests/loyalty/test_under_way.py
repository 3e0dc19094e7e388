"""What is being posted while somebody seals the ledger or closes a month: both keep a distance from the present.

The control is the same without that distance: then the books say that somebody touched them.
"""

from datetime import date
from zoneinfo import ZoneInfo

import pytest

from aiqsync.accounts.tenancy import acting_in
from loyalty import closes, seals

from .people_at_till import HOUR, NOW, Shop
from .race import overlap, wrong

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("careful", [True, False], ids=["an hour", "control: at once"])
def test_a_seal_leaves_out_what_may_still_be_under_way(careful, monkeypatch):
    """An entry with a smaller number commits after a later one was sealed: as if it had been slipped in."""
    shop = Shop(0)
    if not careful:
        monkeypatch.setattr(seals, "OLDER_THAN", -HOUR)

    def late():
        shop.give(10, shop.eve, now=NOW + HOUR)
        return seals.seal(account_id=shop.account.pk, now=NOW + HOUR)

    sealed = overlap(lambda: shop.give(10, now=NOW + HOUR), late).answer()
    assert sealed == (0 if careful else 1)
    assert wrong([]) == [] if careful else any("seal-holds" in one for one in wrong([]))


@pytest.mark.parametrize("careful", [True, False], ids=["two hours", "control: at once"])
def test_a_month_is_closed_when_nothing_of_it_is_under_way(careful, monkeypatch):
    """An entry of the last moment is not committed yet when somebody closes the month."""
    shop = Shop(0)
    month = closes.month_of(date(2026, 1, 15), ZoneInfo("America/Vancouver"))
    shop.give(10, now=month.starts_at)
    if not careful:
        monkeypatch.setattr(closes, "RIPE_AFTER", -HOUR)

    def close():
        with acting_in(shop.account.pk):
            return closes.close(account_id=shop.account.pk, now=month.ends_at)

    answer = overlap(lambda: shop.give(10, now=month.ends_at - HOUR / 60), close).answer()
    assert isinstance(answer, closes.NotYet) is careful
    assert wrong([]) == [] if careful else any("close-stands" in one for one in wrong([]))
