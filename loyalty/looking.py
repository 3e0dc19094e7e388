"""Redemptions to look at: cases between the till and our books that somebody has to decide, and what helps.

Lists only read. Each remedy is one verb, done in one transaction with the case's closing, and safe to send twice.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Sum

from aiqsync.accounts.models import User
from integrations.services import lock_origins

from . import earning, ledger, reconcile, worth
from .models import Discount, Entry, Persona, Redemption, Review, ReviewKind, SaleState, Shortfall

DAYS = 60  # older cases are history
SHOWN = 50
WAITS_AFTER = timedelta(hours=1)


class CannotDo(Exception):
    """The message is a sentence for the person who asked."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `sales`: those a waiting redemption might belong to."""

    kind: str
    at: datetime
    persona: str
    contact_id: UUID | None
    redemption_id: int | None = None
    sale_id: int | None = None
    shortfall_id: int | None = None
    discount: str = ""
    discount_id: int | None = None
    points: Decimal = Decimal(0)
    number: str = ""
    store: str = ""
    told: str = ""  # how its sale was found, or why it ended
    waits_for: tuple[str, ...] = ()
    sales: tuple[tuple[int, str, datetime], ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    kind: str
    title: str
    text: str
    cases: list[Case] = field(default_factory=list)
    more: bool = False


# Somebody who was removed on request is in no list but that of stores: nothing can be given to him or taken from him.
TITLES = {
    ReviewKind.WAITING: ("Applied without a sale", "Points are taken; the sale has not been seen. It is released by "
                         "itself when every sale of its time has been read and none carries it."),
    ReviewKind.NO_DISCOUNT: ("Released: no sale carried the discount", "The points came back by themselves. If the "
                             "discount was given all the same, take them again."),
    ReviewKind.NO_REDEMPTION: ("Discount without a redemption", "The till gave one of your discounts and nobody "
                               "redeemed it here."),
    ReviewKind.REFUND: ("Refunded, points kept", "The sale was refunded and its points stay, as the programme says."),
    ReviewKind.SPENT_REFUNDED: ("Refund of a sale with a redemption", "The points that were spent on it stay spent."),
    ReviewKind.PLACE: ("Used where it is not for", "The discount is for other stores."),
    "shortfall": ("Could not be taken back", "Points that were spent or had expired before they had to be taken back."),
}  # fmt: skip

_STORE = (
    "LEFT JOIN stores_storemapping m ON m.location_id = s.location_id LEFT JOIN stores_store st ON st.id = m.store_id"
)
_REVIEWED = """NOT EXISTS (SELECT FROM loyalty_review v WHERE v.kind = '{kind}' AND v.account_id = %(account)s
               AND v.redemption_id IS NOT DISTINCT FROM {redemption} AND v.sale_id IS NOT DISTINCT FROM {sale})"""


def _open(kind: str, redemption: str = "NULL::bigint", sale: str = "NULL::bigint") -> str:
    return _REVIEWED.format(kind=kind, redemption=redemption, sale=sale)


# What was refunded of a sale altogether.
_REFUNDED = """SELECT -sum(x.net_cents + x.tax_cents)::bigint FROM integrations_sale x
               WHERE x.origin_id = s.origin_id AND x.original_id = s.external_id AND x.original_id <> ''
                 AND x.kind = 'refund'"""

_NAME = "coalesce(nullif(trim(p.first_name || ' ' || p.last_name), ''), nullif(p.phone, ''), 'Persona ' || p.id)"
# Each yields a case: its moment, whose, redemption, sale, shortfall, discount, points, number, store, how its sale was
# found or why it ended, the store's id.
_LISTS = {
    ReviewKind.WAITING: f"""
        SELECT r.applied_at, {_NAME}, p.contact_id, r.id, NULL, NULL, d.name, d.id, r.points, r.transaction,
               coalesce(st.name, ''), '', r.store_id
        FROM loyalty_redemption r JOIN loyalty_discount d ON d.id = r.discount_id
        JOIN loyalty_persona o ON o.id = r.persona_id JOIN loyalty_persona p ON p.id = coalesce(o.merged_into_id, o.id)
        LEFT JOIN stores_store st ON st.id = r.store_id
        WHERE r.account_id = %(account)s AND r.state = 'applied' AND r.applied_at < %(now)s - interval '1 hour'
          AND NOT p.is_test
          AND (%(stores)s::bigint[] IS NULL OR r.store_id = ANY(%(stores)s)) AND {_open("waiting", redemption="r.id")}
        ORDER BY r.applied_at, r.id""",
    ReviewKind.NO_DISCOUNT: f"""
        SELECT r.ended_at, {_NAME}, p.contact_id, r.id, NULL, NULL, d.name, d.id, r.points, r.transaction,
               coalesce(st.name, ''), r.why_ended, r.store_id
        FROM loyalty_redemption r JOIN loyalty_discount d ON d.id = r.discount_id
        JOIN loyalty_persona o ON o.id = r.persona_id JOIN loyalty_persona p ON p.id = coalesce(o.merged_into_id, o.id)
        LEFT JOIN stores_store st ON st.id = r.store_id
        WHERE r.account_id = %(account)s AND r.state = 'released' AND r.ended_at > %(since)s AND p.erased_at IS NULL
          AND NOT p.is_test
          AND r.why_ended IN ('no_sale', 'without_discount')
          AND (%(stores)s::bigint[] IS NULL OR r.store_id = ANY(%(stores)s))
          AND {_open("no_discount", redemption="r.id")}
        ORDER BY r.ended_at DESC, r.id DESC""",
    ReviewKind.NO_REDEMPTION: f"""
        SELECT s.sold_at, coalesce({_NAME}, ''), p.contact_id, NULL, s.id, NULL, d.name, d.id, d.points, s.number,
               coalesce(st.name, ''), '', m.store_id
        FROM integrations_sale s
        JOIN LATERAL jsonb_array_elements(s.discounts) x ON true
        JOIN loyalty_discount d ON d.account_id = s.account_id AND lower(trim(x->>'name')) = lower(trim(d.name))
        LEFT JOIN loyalty_salestate ss ON ss.sale_id = s.id LEFT JOIN loyalty_persona p ON p.id = ss.persona_id {_STORE}
        WHERE s.account_id = %(account)s AND s.kind = 'sale' AND s.sold_at > %(since)s
          AND s.sold_at < %(now)s - interval '1 hour' AND s.discounts <> '[]'::jsonb
          AND p.erased_at IS NULL AND s.customer_id NOT LIKE 'erased:%%'
          AND (%(stores)s::bigint[] IS NULL OR m.store_id = ANY(%(stores)s))
          AND NOT EXISTS (SELECT FROM loyalty_redemption r WHERE r.sale_id = s.id AND r.discount_id = d.id)
          AND {_open("no_redemption", sale="s.id")}
        ORDER BY s.sold_at DESC, s.id DESC, d.id""",
    ReviewKind.REFUND: f"""
        SELECT f.ended, {_NAME}, p.contact_id, NULL, s.id, NULL, '', NULL, ss.posted, s.number, coalesce(st.name, ''),
               '', m.store_id
        FROM (SELECT origin_id, original_id, max(sold_at) AS ended FROM integrations_sale
              WHERE account_id = %(account)s AND kind = 'refund' AND original_id <> '' AND sold_at > %(since)s
              GROUP BY 1, 2) f
        JOIN integrations_sale s ON s.origin_id = f.origin_id AND s.external_id = f.original_id
        LEFT JOIN loyalty_review v ON v.kind = 'refund' AND v.account_id = %(account)s AND v.sale_id = s.id
             AND v.redemption_id IS NULL
        JOIN loyalty_salestate ss ON ss.sale_id = s.id AND ss.posted > 0
        JOIN loyalty_persona p ON p.id = ss.persona_id AND p.erased_at IS NULL {_STORE}
        WHERE EXISTS (SELECT FROM loyalty_programme g WHERE g.account_id = %(account)s AND g.refunds = 'keep')
          AND (%(stores)s::bigint[] IS NULL OR m.store_id = ANY(%(stores)s))
          AND (v.id IS NULL OR v.outcome <> 'taken' AND v.refunded_cents IS DISTINCT FROM ({_REFUNDED}))
        ORDER BY f.ended DESC, s.id DESC""",
    ReviewKind.SPENT_REFUNDED: f"""
        SELECT f.ended, {_NAME}, p.contact_id, r.id, s.id, NULL, d.name, d.id, r.points - r.reverted_points, s.number,
               coalesce(st.name, ''), r.matched_by, m.store_id
        FROM (SELECT origin_id, original_id, max(sold_at) AS ended FROM integrations_sale
              WHERE account_id = %(account)s AND kind = 'refund' AND original_id <> '' AND sold_at > %(since)s
              GROUP BY 1, 2) f
        JOIN integrations_sale s ON s.origin_id = f.origin_id AND s.external_id = f.original_id
        JOIN loyalty_redemption r ON r.sale_id = s.id AND r.state = 'settled' AND r.points > r.reverted_points
        JOIN loyalty_discount d ON d.id = r.discount_id JOIN loyalty_persona o ON o.id = r.persona_id
        JOIN loyalty_persona p ON p.id = coalesce(o.merged_into_id, o.id) AND p.erased_at IS NULL {_STORE}
        WHERE (%(stores)s::bigint[] IS NULL OR m.store_id = ANY(%(stores)s))
          AND {_open("spent_refunded", redemption="r.id", sale="s.id")}
        ORDER BY f.ended DESC, r.id DESC""",
    ReviewKind.PLACE: f"""
        SELECT r.applied_at, {_NAME}, p.contact_id, r.id, s.id, NULL, d.name, d.id, r.points, s.number,
               coalesce(st.name, ''), r.matched_by, m.store_id
        FROM loyalty_redemption r JOIN loyalty_discount d ON d.id = r.discount_id AND d.limited_stores
        JOIN integrations_sale s ON s.id = r.sale_id JOIN loyalty_persona o ON o.id = r.persona_id
        JOIN loyalty_persona p ON p.id = coalesce(o.merged_into_id, o.id) {_STORE}
        WHERE r.account_id = %(account)s AND r.state = 'settled' AND r.applied_at > %(since)s AND m.store_id IS NOT NULL
          AND NOT EXISTS (SELECT FROM loyalty_discountstore x WHERE x.discount_id = d.id AND x.store_id = m.store_id)
          AND (%(stores)s::bigint[] IS NULL OR m.store_id = ANY(%(stores)s))
          AND {_open("place", redemption="r.id", sale="s.id")}
        ORDER BY r.applied_at DESC, r.id DESC""",
    "shortfall": f"""
        SELECT f.at, {_NAME}, p.contact_id, f.redemption_id, f.sale_id, f.id, coalesce(d.name, ''), NULL,
               f.points - f.netted - f.collected, coalesce(s.number, ''), coalesce(st.name, ''),
               CASE WHEN f.redemption_id IS NULL THEN '' ELSE 'late' END, coalesce(m.store_id, r.store_id)
        FROM loyalty_shortfall f JOIN loyalty_persona o ON o.id = f.persona_id
        JOIN loyalty_persona p ON p.id = coalesce(o.merged_into_id, o.id)
        LEFT JOIN loyalty_redemption r ON r.id = f.redemption_id LEFT JOIN loyalty_discount d ON d.id = r.discount_id
        LEFT JOIN integrations_sale s ON s.id = coalesce(f.sale_id, r.sale_id)
        LEFT JOIN stores_storemapping m ON m.location_id = s.location_id
        LEFT JOIN stores_store st ON st.id = coalesce(m.store_id, r.store_id)
        WHERE f.account_id = %(account)s AND f.state = 'open'
          AND (%(stores)s::bigint[] IS NULL OR coalesce(m.store_id, r.store_id) = ANY(%(stores)s))
        ORDER BY f.id DESC""",
}  # fmt: skip


def sections(*, account_id: int, now: datetime, stores: Collection[int] | None = None) -> list[Section]:
    """Every kind of case with its open ones, in one statement each. `stores`: only those of these stores."""
    asked = _asked(account_id, now, stores)
    found = []
    with connection.cursor() as cursor:
        for kind, sql in _LISTS.items():
            cursor.execute(f"{sql} LIMIT {SHOWN + 1}", asked)
            rows = cursor.fetchall()
            cases = [Case(str(kind), *row[:11], told=Redemption.WORDS.get(row[11], "")) for row in rows[:SHOWN]]
            if kind == ReviewKind.WAITING:
                cases = _waiting(account_id, cases, [row[12] for row in rows[:SHOWN]], now)
            elif kind == ReviewKind.REFUND and cases:
                # Of a sale that was refunded in part only that part: what was kept, not what was earned.
                kept = worth.kept_on_refund(account_id=account_id, sale_ids=[case.sale_id or 0 for case in cases])
                cases = [replace(case, points=kept.get(case.sale_id or 0, Decimal(0))) for case in cases]
                cases = [case for case in cases if case.points]  # a refund taken back in turn kept nothing
            found.append(Section(str(kind), *TITLES[kind], cases=cases, more=len(rows) > SHOWN))
    return found


def how_many(*, account_id: int, now: datetime, stores: Collection[int] | None = None) -> int:
    """All open cases, at most 51 counted of each kind: for the menu's badge."""
    asked = _asked(account_id, now, stores)
    lists = (f"SELECT count(*) FROM (({sql} LIMIT {SHOWN + 1})) q{n}" for n, sql in enumerate(_LISTS.values()))
    counts = " UNION ALL ".join(lists)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT sum(count) FROM ({counts}) x", asked)
        return int(cursor.fetchone()[0])


def _asked(account_id: int, now: datetime, stores: Collection[int] | None) -> dict[str, Any]:
    return {
        "account": account_id, "now": now, "since": now - timedelta(days=DAYS),
        "stores": None if stores is None else list(stores),
    }  # fmt: skip


def _waiting(account_id: int, cases: list[Case], stores: list[int | None], now: datetime) -> list[Case]:
    """What each waits for, and which sales of the shopper could be its own: a few statements and one a place."""
    if not cases:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT r.id, s.id, s.number, s.sold_at FROM loyalty_redemption r
               JOIN loyalty_persona o ON o.id = r.persona_id
               JOIN loyalty_salestate ss ON ss.persona_id = coalesce(o.merged_into_id, o.id)
               JOIN integrations_sale s ON s.id = ss.sale_id AND s.kind = 'sale'
                    AND s.sold_at BETWEEN r.applied_at - interval '1 hour' AND r.applied_at + interval '1 day'
               WHERE r.id = ANY(%s) AND NOT EXISTS (SELECT FROM loyalty_redemption x WHERE x.sale_id = s.id
                     AND x.discount_id = r.discount_id AND x.state = 'settled')
               ORDER BY s.sold_at""",
            [[case.redemption_id for case in cases]],
        )
        near: dict[int, list[tuple[int, str, datetime]]] = {}
        for redemption, sale, number, sold_at in cursor.fetchall():
            near.setdefault(redemption, []).append((sale, number, sold_at))
        cursor.execute("SELECT release_after_h FROM loyalty_programme WHERE account_id = %s", [account_id])
        hours = (cursor.fetchone() or [24])[0]
    told: dict[int | None, tuple[str, ...]] = {}
    latest: dict[int | None, datetime] = {}
    for case, store in zip(cases, stores, strict=True):
        latest[store] = max(latest.get(store, case.at), case.at)
    for store, at in latest.items():
        seen = reconcile.evidence(account_id=account_id, store_id=store, moment=at + timedelta(hours=hours))
        told[store] = seen.waiting
    ids = [case.redemption_id for case in cases if case.redemption_id]
    doubts = reconcile.doubts(account_id=account_id, redemption_ids=ids, now=now)
    filled = []
    for case, store in zip(cases, stores, strict=True):
        pk = case.redemption_id or 0
        # What is read later may settle a doubt: the source comes first.
        why = told[store] or ((doubts[pk],) if pk in doubts else ())
        filled.append(replace(case, waits_for=why, sales=tuple(near.get(pk, ()))[:5]))
    return filled


def belongs(
    *,
    account_id: int,
    stores: Collection[int],
    redemption_id: int | None,
    sale_id: int | None,
    shortfall_id: int | None,
) -> bool:
    """Whether a case is of one of these stores, open or closed by now: by its redemption's place, else its sale's."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(r.store_id, rm.store_id, m.store_id) = ANY(%(stores)s)
               FROM (SELECT 1) one
               LEFT JOIN loyalty_shortfall f ON f.id = %(shortfall)s AND f.account_id = %(account)s
               LEFT JOIN loyalty_redemption r ON r.id = coalesce(%(redemption)s, f.redemption_id)
                    AND r.account_id = %(account)s
               LEFT JOIN integrations_sale rs ON rs.id = r.sale_id
               LEFT JOIN stores_storemapping rm ON rm.location_id = rs.location_id
               LEFT JOIN integrations_sale s ON s.id = coalesce(%(sale)s, f.sale_id) AND s.account_id = %(account)s
               LEFT JOIN stores_storemapping m ON m.location_id = s.location_id""",
            {"account": account_id, "stores": list(stores), "redemption": redemption_id, "sale": sale_id,
             "shortfall": shortfall_id},
        )  # fmt: skip
        return bool(cursor.fetchone()[0])


# Remedies


def dismiss(
    *, account_id: int, kind: str, redemption_id: int | None, sale_id: int | None, note: str, user: User, now: datetime
) -> None:
    """Close a case as it is."""
    if kind not in ReviewKind.values:
        raise CannotDo("There is no such case.")
    _own(account_id, redemption_id, sale_id)
    _close(account_id, kind, redemption_id, sale_id, "dismissed", note, user, now)


_GIVEN_BACK_FROM = {
    ReviewKind.WAITING: "applied", ReviewKind.SPENT_REFUNDED: "settled", ReviewKind.PLACE: "settled",
}  # fmt: skip


def give_back(
    *, account_id: int, kind: str, redemption_id: int, sale_id: int | None, user: User, now: datetime
) -> Decimal:
    """The points of a redemption return to the shopper. Answers how many came back by this.

    Only from the state in which the case was shown: a page that was opened before its sale came gives nothing back.
    """
    if kind not in _GIVEN_BACK_FROM:
        raise CannotDo("There is no such case.")
    redemption = _redemption(account_id, redemption_id)
    _own(account_id, redemption_id, sale_id)
    with transaction.atomic():
        try:
            back = ledger.revert(
                account_id=account_id, redemption_public_id=redemption.public_id, now=now, user_id=user.pk, why="staff",
                note="Given back under Redemptions to look at", only=_GIVEN_BACK_FROM[ReviewKind(kind)],
            )  # fmt: skip
        except ledger.UnknownRedemption:
            raise CannotDo("This shopper was removed on request: the points would be nobody's.") from None
        if not back.created and back.state == "settled":
            raise CannotDo("Its sale came meanwhile and carries the discount: nothing was given back.")
        _close(account_id, kind, redemption_id, sale_id, "given_back", "", user, now)
    return back.points if back.created else Decimal(0)


def settle(*, account_id: int, redemption_id: int, sale_id: int, user: User, now: datetime) -> None:
    """Somebody knows which sale it was: one of the shopper's."""
    redemption = _redemption(account_id, redemption_id)
    if not SaleState.unscoped.filter(
        account_id=account_id, sale_id=sale_id, sale__kind="sale", persona_id=_root(redemption.persona_id)
    ).exists():
        raise CannotDo("That is no sale of this shopper.")
    found = {
        "account_id": account_id, "redemption_id": redemption_id, "sale_id": sale_id, "now": now, "matched_by": "staff",
    }  # fmt: skip
    with transaction.atomic():
        if redemption.state == "settled" and redemption.sale_id == sale_id:
            return  # done before, by somebody or by itself
        if not (ledger.settle_redemption(**found) or ledger.settle_again(**found)):
            raise CannotDo("It was given back, or it or the sale belongs to another by now.")
        _close(account_id, ReviewKind.WAITING, redemption_id, None, "settled", "", user, now)


def take_again(*, account_id: int, redemption_id: int, user: User, now: datetime) -> None:
    """The discount was given all the same: the points of a released redemption are taken once more."""
    redemption = _redemption(account_id, redemption_id)
    if redemption.state == "settled":
        return  # done before, or its sale came
    sale = SaleState.unscoped.filter(account_id=account_id, persona_id=_root(redemption.persona_id))
    span = (redemption.applied_at - timedelta(hours=1), redemption.applied_at + timedelta(days=1))
    near = sale.filter(sale__kind="sale").order_by("sale__sold_at")
    others = Redemption.unscoped.filter(account_id=account_id, discount_id=redemption.discount_id, state="settled")
    near = near.exclude(sale_id__in=others.filter(sale_id__isnull=False).values("sale_id")).select_related("sale")
    own = near.filter(sale_id=redemption.sale_id) if redemption.sale_id else near.none()
    if redemption.transaction and not redemption.sale_id:
        own = near.filter(sale__number=redemption.transaction) | near.filter(sale__receipt=redemption.transaction)
    sales = list(own) or list(near.filter(sale__sold_at__range=span))
    found = next((one for one in sales if one.sale.discounts), sales[0] if sales else None)
    if found is None:
        raise CannotDo("No sale of this shopper was read around that time: nothing was taken.")
    with transaction.atomic():
        if not ledger.settle_again(
            account_id=account_id, redemption_id=redemption_id, sale_id=found.sale_id, now=now, matched_by="staff"
        ):
            raise CannotDo("It is not released any more.")
        _close(account_id, ReviewKind.NO_DISCOUNT, redemption_id, None, "taken", "", user, now)


def take_for_sale(*, account_id: int, sale_id: int, discount_id: int, user: User, now: datetime) -> Decimal:
    """The till gave a discount that nobody redeemed here: redeemed now, for that sale. Once; answers what was taken.

    Raises the ledger's refusals.
    """
    _own(account_id, None, sale_id)
    state = SaleState.unscoped.select_related("sale").filter(account_id=account_id, sale_id=sale_id).first()
    discount = Discount.unscoped.filter(account_id=account_id, pk=discount_id).first()
    if discount is None or state is None or state.persona_id is None:
        raise CannotDo("Nobody's sale: attach the receipt to its shopper first.")
    named = {str(one.get("name", "")).strip().casefold() for one in state.sale.discounts}
    if discount.name.strip().casefold() not in named:
        raise CannotDo("This sale does not carry that discount.")
    # Only "closed as it is" is about the whole sale: another discount of it may be taken as well.
    closed = Review.unscoped.filter(
        account_id=account_id, kind=ReviewKind.NO_REDEMPTION, sale_id=sale_id, outcome="dismissed"
    )  # fmt: skip
    with transaction.atomic():
        n = ledger.next_n(account_id=account_id, persona_id=state.persona_id, discount_id=discount.pk)
        # Its redemption came meanwhile, by itself or from another page: as in the list, whatever became of it.
        has = Redemption.unscoped.filter(account_id=account_id, sale_id=sale_id, discount_id=discount.pk)
        if closed.exists() or has.exists():
            return Decimal(0)
        done = ledger.redeem(
            account_id=account_id, persona_id=state.persona_id, discount_id=discount.pk, n=n,
            transaction=state.sale.number or f"sale-{sale_id}", channel="staff", now=now, user_id=user.pk,
            per_order=None,  # what the till did is done
        )  # fmt: skip
        made = Redemption.unscoped.get(public_id=done.redemption_id)
        ledger.settle_redemption(
            account_id=account_id, redemption_id=made.pk, sale_id=sale_id, now=now, matched_by="staff"
        )
    return done.points if done.created else Decimal(0)


@dataclass(frozen=True, slots=True)
class TakenBack:
    """`missing` could not be taken: it is listed as a shortfall."""

    points: Decimal = Decimal(0)
    missing: Decimal = Decimal(0)


def take_back(*, account_id: int, sale_id: int, user: User, now: datetime) -> TakenBack:
    """The refunds of this sale count against its points from now on, whatever the programme says. Safe to repeat.

    It is settled to what it is worth then, like any sale: a later refund of it counts as well, and a change of the
    programme finds nothing to take a second time.
    """
    _own(account_id, None, sale_id)
    with transaction.atomic():
        lock_origins(account_id=account_id)  # between two pages: another refund of it comes before or after
        mine = {"account_id": account_id, "sale_id": sale_id}
        if Review.unscoped.filter(**mine, kind=ReviewKind.REFUND, outcome="taken").exists():
            return TakenBack()
        if worth.kept_on_refund(account_id=account_id, sale_ids=[sale_id]).get(sale_id, Decimal(0)) <= 0:
            raise CannotDo("Nothing was kept for this sale, or no more is there.")
        entries, owed = Entry.unscoped.filter(**mine), Shortfall.unscoped.filter(**mine)
        before = entries.aggregate(sum=Sum("points"))["sum"] or 0, owed.aggregate(sum=Sum("points"))["sum"] or 0
        _close(account_id, ReviewKind.REFUND, None, sale_id, "taken", "", user, now)
        earning.settle_sales(account_id=account_id, sale_ids=[sale_id], now=now)
        after = entries.aggregate(sum=Sum("points"))["sum"] or 0, owed.aggregate(sum=Sum("points"))["sum"] or 0
    return TakenBack(Decimal(before[0] - after[0]), Decimal(after[1] - before[1]))


def _redemption(account_id: int, redemption_id: int) -> Redemption:
    found = Redemption.unscoped.filter(account_id=account_id, pk=redemption_id).first()
    if found is None:
        raise CannotDo("There is no such redemption.")
    return found


def _root(persona_id: int) -> int:
    persona = Persona.unscoped.get(pk=persona_id)
    return persona.merged_into_id or persona.pk


def _own(account_id: int, redemption_id: int | None, sale_id: int | None) -> None:
    """Rows of this account, or CannotDo."""
    if redemption_id:
        _redemption(account_id, redemption_id)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM integrations_sale WHERE id = %s AND account_id = %s", [sale_id, account_id])
        if sale_id and cursor.fetchone() is None:
            raise CannotDo("There is no such sale.")
    if not redemption_id and not sale_id:
        raise CannotDo("There is no such case.")


def _close(
    account_id: int, kind: str, redemption_id: int | None, sale_id: int | None, outcome: str, note: str, user: User,
    now: datetime,
) -> None:  # fmt: skip
    said = {"outcome": outcome, "note": note[:300], "user": user, "at": now}
    if kind == ReviewKind.REFUND:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT ({_REFUNDED}) FROM integrations_sale s WHERE s.id = %s", [sale_id])
            said["refunded_cents"] = (cursor.fetchone() or [None])[0]
    found, made = Review.unscoped.get_or_create(
        kind=kind, redemption_id=redemption_id, sale_id=sale_id, defaults={"account_id": account_id} | said
    )
    if not made and kind == ReviewKind.REFUND and found.outcome != "taken":
        # Looked at before, refunded further since. What was taken stays taken: earning goes by it.
        Review.unscoped.filter(pk=found.pk).update(**said)
