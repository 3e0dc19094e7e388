"""Updates that carry their condition: of two at once the second finds it gone. The control looks, and then writes."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from integrations import pulling
from integrations.models import Connection, Credential, Origin, StreamState, SyncRun
from loyalty import audiences, audits, ledger
from loyalty.models import Audience

from ..factories import make_account
from .ledger_sales import make_sales
from .people_at_till import NOW, Shop
from .race import overlap

pytestmark = pytest.mark.django_db(transaction=True)
careful = pytest.mark.parametrize("careful", [True, False], ids=["guarded", "control: looks, then writes"])


@careful
def test_a_run_is_claimed_by_one_worker(careful):
    account = make_account()
    origin = Origin.unscoped.create(account=account, platform="cova", identity="1")
    link = Connection.unscoped.create(account=account, card="cova")
    credential = Credential.unscoped.create(account=account, connection=link, origin=origin, state="connected")
    state = StreamState.unscoped.create(account=account, credential=credential, stream="sales")
    run = SyncRun.unscoped.create(account=account, stream=state)

    def looks_first(run_id):
        with transaction.atomic():
            free = Q(status="queued") | Q(status="running", lease_until__lt=timezone.now())
            if not SyncRun.unscoped.filter(free, pk=run_id).exists():
                return None
            SyncRun.unscoped.filter(pk=run_id).update(
                status="running", token="mine", lease_until=timezone.now() + timedelta(seconds=30)
            )
            return "mine"

    claim = pulling.claim if careful else looks_first
    tokens = []
    second = overlap(lambda: tokens.append(claim(run.pk)), lambda: claim(run.pk))
    tokens.append(second.answer())
    assert (tokens[1] is None) is careful and tokens[0], tokens


@careful
def test_what_was_given_back_is_not_settled(careful):
    """A till gives back while a page sees the sale: the page is told, and nothing is settled without its points."""
    shop = Shop(100)
    made = shop.redeem(order="A", channel="till")
    row = shop.row(made)
    (sale,) = make_sales(shop.account, 1)

    def looks_first():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT state FROM loyalty_redemption WHERE id = %s", [row.pk])
            if cursor.fetchone()[0] not in ("applied", "settled"):
                return False
            cursor.execute(
                "UPDATE loyalty_redemption SET state = 'settled', sale_id = %s, settled_at = %s WHERE id = %s",
                [sale, NOW, row.pk],
            )
            return True

    def settles():
        return ledger.settle_redemption(account_id=shop.account.pk, redemption_id=row.pk, sale_id=sale, now=NOW)

    page = overlap(lambda: shop.revert(made), settles if careful else looks_first)
    assert (page.answer() is False) is careful, page.answer()
    assert shop.points() == 100 and (not careful or audits.violations() == [])


@careful
def test_an_audience_is_refreshed_by_whoever_comes_first(careful):
    account = make_account()
    audience = Audience.unscoped.create(account=account, name="All")

    def looks_first(now):
        with transaction.atomic():
            due = Audience.unscoped.filter(Q(refreshed_at=None) | Q(refreshed_at__lte=now - audiences.EVERY))
            done = [audiences.refresh(audience=one, now=now) for one in due.filter(pk=audience.pk)]
            return len(done)

    def sweep():
        return audiences.refresh_due(now=NOW) if careful else looks_first(NOW)

    done = []
    second = overlap(lambda: done.append(sweep()), sweep)
    assert [*done, second.answer()] == ([1, 0] if careful else [1, 1])
