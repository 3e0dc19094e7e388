"""Two records are one person, or one record is two: merges, splits, and records that go to somebody else.

Everything here runs under the locks of all the account's origins: no page lands in between (docs/decisions/locks.md).
Points follow by the ledger's own steps: a merge moves lots, a record that moves is settled with its new owner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db import connection, transaction

from aiqsync.accounts.models import User
from integrations.services import lock_origins

from . import earning, ledger
from .models import Enrolment, Identifier, Merge, NotTheSame, Persona, Source, SourceMove, Wallet
from .people import folded_name


class CannotMerge(Exception):
    """The message is a sentence for the person who asked."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What merging two personas would do; nothing is written."""

    survivor: Persona
    loser: Persona
    survivor_points: Decimal
    loser_points: Decimal
    member_from: date | None
    contradictions: tuple[str, ...]

    @property
    def points(self) -> Decimal:
        return self.survivor_points + self.loser_points


def preview(*, account_id: int, survivor_id: int, loser_id: int, now: datetime) -> Preview:
    """Raises CannotMerge."""
    survivor, loser = _pair(account_id, survivor_id, loser_id)
    told = []
    if survivor.phone and loser.phone and survivor.phone != loser.phone:
        told.append("They have two different phones.")
    if survivor.birth_date and loser.birth_date and survivor.birth_date != loser.birth_date:
        told.append("They were born on different days.")
    if folded_name(survivor) and folded_name(loser) and folded_name(survivor) != folded_name(loser):
        told.append("They have different names.")
    days = [one.member_from for one in (survivor, loser) if one.member_from]
    return Preview(
        survivor, loser, ledger.spendable_points(account_id, survivor.pk, now),
        ledger.spendable_points(account_id, loser.pk, now), min(days, default=None), tuple(told),
    )  # fmt: skip


def merge(
    *, account_id: int, one_id: int, other_id: int, now: datetime, why: str = "manual", value: str = "",
    user: User | None = None,
) -> Merge:  # fmt: skip
    """Make `other` part of `one`. Raises CannotMerge, also when somebody was quicker."""
    with transaction.atomic():
        lock_origins(account_id=account_id)
        return merge_locked(
            account_id=account_id, survivor_id=one_id, loser_id=other_id, why=why, value=value, user=user, now=now
        )


def merge_locked(
    *, account_id: int, survivor_id: int, loser_id: int, why: str, value: str, user: User | None, now: datetime
) -> Merge:
    """The same inside a transaction that keeps pages out."""
    survivor, loser = _pair(account_id, survivor_id, loser_id)
    NotTheSame.unscoped.filter(account_id=account_id, one_id__in=(survivor.pk, loser.pk)).filter(
        other_id__in=(survivor.pk, loser.pk)
    ).delete()
    made = Merge.unscoped.create(
        account_id=account_id, survivor=survivor, loser=loser, why=why, value=value[:254], user=user, at=now,
        survivor_balance=0, loser_balance=0,
    )  # fmt: skip
    ledger.merge(account_id=account_id, merge_id=made.pk, now=now)
    _renew(account_id, [survivor.pk], now)
    made.refresh_from_db()
    return made


def _pair(account_id: int, one_id: int, other_id: int) -> tuple[Persona, Persona]:
    people = Persona.unscoped.filter(account_id=account_id, pk__in=(one_id, other_id)).order_by("pk")
    if connection.in_atomic_block:  # a merge, not a preview
        people = people.select_for_update(no_key=True)
    found = {one.pk: one for one in people}
    if one_id == other_id or len(found) < 2:
        raise CannotMerge("Two different people of this account are needed.")
    survivor, loser = found[one_id], found[other_id]
    if survivor.erased_at or loser.erased_at:
        raise CannotMerge("One of the two was removed on request.")
    if survivor.merged_into_id or loser.merged_into_id:
        raise CannotMerge("One of the two is part of another record already. Merge that one.")
    return survivor, loser


def _renew(account_id: int, root_ids: Sequence[int], now: datetime) -> None:
    """The member's day is the earliest of the group's enrolments; what the group's sales are worth follows."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE loyalty_persona t SET member_from = f.day FROM (
                   SELECT r.id, min(e.from_date) AS day FROM loyalty_persona r
                   JOIN loyalty_persona p ON p.id = r.id OR p.merged_into_id = r.id
                   JOIN loyalty_enrolment e ON e.persona_id = p.id
                   WHERE r.account_id = %s AND r.id = ANY(%s) GROUP BY r.id) f
               WHERE t.id = f.id AND t.member_from IS DISTINCT FROM f.day""",
            [account_id, list(root_ids)],
        )
        # Who was a member only through the other is none any more.
        cursor.execute(
            """UPDATE loyalty_persona t SET member_from = NULL WHERE t.account_id = %s AND t.id = ANY(%s)
               AND t.member_from IS NOT NULL AND NOT EXISTS (
                   SELECT FROM loyalty_persona p JOIN loyalty_enrolment e ON e.persona_id = p.id
                   WHERE p.id = t.id OR p.merged_into_id = t.id)
               AND EXISTS (SELECT FROM loyalty_merge m WHERE m.survivor_id = t.id OR m.loser_id = t.id)""",
            [account_id, list(root_ids)],
        )
    earning.settle_personas(account_id=account_id, persona_ids=list(root_ids), now=now)


def split(*, account_id: int, merge_id: int, user: User | None, now: datetime) -> Merge:
    """Take a merge back; what was spent stays spent. Raises CannotMerge. Taken back twice is once."""
    with transaction.atomic():
        lock_origins(account_id=account_id)
        found = Merge.unscoped.filter(account_id=account_id, pk=merge_id).first()
        if found is None:
            raise CannotMerge("There is no such merge.")
        if found.split_at:
            return found
        root = Persona.unscoped.values_list("merged_into_id", flat=True).get(pk=found.loser_id)
        try:
            ledger.split(account_id=account_id, merge_id=merge_id, now=now)
        except ledger.CannotMerge:
            raise CannotMerge("This record is not part of another any more.") from None
        Merge.unscoped.filter(pk=merge_id).update(split_by=user)
        _renew(account_id, [found.loser_id, root], now)
        found.refresh_from_db()
        return found


def detach(*, account_id: int, source_id: int, user: User | None, now: datetime) -> Persona:
    """A POS record becomes a persona of its own, with its sales and the numbers only it bears. Raises CannotMerge."""
    with transaction.atomic():
        lock_origins(account_id=account_id)
        source = (
            Source.unscoped.select_related("customer", "persona").filter(account_id=account_id, pk=source_id).first()
        )
        if source is None:
            raise CannotMerge("There is no such record.")
        if not Source.unscoped.filter(persona_id=source.persona_id).exclude(pk=source.pk).exists():
            raise CannotMerge("It is the only record of this person.")
        made = own_persona(account_id, source, now)
        move_source(account_id=account_id, source=source, to_id=made.pk, why="split", value="", user=user, now=now)
        return made


def own_persona(account_id: int, source: Source, now: datetime) -> Persona:
    """A new persona with what the record says, and the identifiers that only this record bears."""
    customer = source.customer
    made = Persona.unscoped.create(
        account_id=account_id, first_name=customer.first_name, last_name=customer.last_name, phone=customer.phone,
        email=customer.email, birth_date=customer.birth_date, customer_type=customer.customer_type, created_at=now,
    )  # fmt: skip
    Wallet.unscoped.create(account_id=account_id, persona=made)
    others = Source.unscoped.filter(persona_id=source.persona_id).exclude(pk=source.pk).select_related("customer")
    kept = {value for one in others for value in (one.customer.phone, one.customer.email)}
    for value in {customer.phone, customer.email} - {""} - kept:
        Identifier.unscoped.filter(persona_id=source.persona_id, value=value).update(persona=made)
    # A membership is not lost with the split: the person goes on earning from the same day.
    for enrolment in Enrolment.unscoped.filter(persona_id=source.persona_id).order_by("id")[:1]:
        Enrolment.unscoped.create(
            account_id=account_id, persona=made, ground=enrolment.ground, from_date=enrolment.from_date,
            user_id=enrolment.user_id, note="Split from another record", at=now,
        )  # fmt: skip
        Persona.unscoped.filter(pk=made.pk).update(member_from=enrolment.from_date)
        made.member_from = enrolment.from_date
    return made


def move_source(
    *, account_id: int, source: Source, to_id: int, why: str, value: str, user: User | None, now: datetime
) -> None:
    """A record goes to another persona with its sales: there they are settled to 0, here to their worth."""
    before = source.persona_id
    if before == to_id:
        return
    SourceMove.unscoped.create(
        account_id=account_id, source=source, from_persona_id=before, to_persona_id=to_id, why=why,
        value=value[:254], user=user, at=now,
    )  # fmt: skip
    Source.unscoped.filter(pk=source.pk).update(persona_id=to_id, matched_by=why[:20], matched_value="")
    source.persona_id = to_id
    earning.settle_personas(account_id=account_id, persona_ids=[before, to_id], now=now)


# Likely duplicates


@dataclass(frozen=True, slots=True)
class Pair:
    """Two roots that may be one person, and why somebody should look."""

    one_id: int
    other_id: int
    why: str
    value: str


_PAIRS = """
WITH people AS (
    SELECT id, phone, email, name_key, birth_date FROM loyalty_persona
    WHERE account_id = %(account)s AND merged_into_id IS NULL AND erased_at IS NULL AND archived_at IS NULL
), pairs AS (
    SELECT a.id AS one, b.id AS other, 'email' AS why, a.email AS value, 1 AS rank
    FROM people a JOIN people b ON b.email = a.email AND b.id > a.id WHERE a.email <> ''
    UNION ALL
    SELECT a.id, b.id, 'name_birth', a.name_key, 2
    FROM people a JOIN people b ON b.name_key = a.name_key AND b.birth_date = a.birth_date AND b.id > a.id
    WHERE length(a.name_key) > 3
    UNION ALL
    SELECT a.id, b.id, 'name_phone', a.phone, 3
    FROM people a JOIN people b ON b.phone = a.phone AND b.id > a.id AND b.name_key = a.name_key WHERE a.phone <> ''
)
SELECT DISTINCT ON (p.one, p.other) p.one, p.other, p.why, p.value FROM pairs p
WHERE NOT EXISTS (SELECT FROM loyalty_notthesame n WHERE n.one_id = p.one AND n.other_id = p.other)
ORDER BY p.one, p.other, p.rank LIMIT %(limit)s
"""


def duplicates(*, account_id: int, limit: int = 100) -> list[Pair]:
    """Pairs with the same e-mail, the same name and birth date, or the same name and (shared) phone, not judged yet."""
    with connection.cursor() as cursor:
        cursor.execute(_PAIRS, {"account": account_id, "limit": limit})
        return [Pair(*row) for row in cursor.fetchall()]


def not_the_same(*, account_id: int, one_id: int, other_id: int, user: User | None, now: datetime) -> None:
    """Somebody looked: two people. They are not listed again."""
    one, other = sorted((one_id, other_id))
    if Persona.unscoped.filter(account_id=account_id, pk__in=(one, other)).count() != 2 or one == other:
        raise CannotMerge("Two different people of this account are needed.")
    NotTheSame.unscoped.get_or_create(
        account_id=account_id, one_id=one, other_id=other, defaults={"user": user, "at": now}
    )
