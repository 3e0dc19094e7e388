"""Two records are one person, or one record is two: merges, splits, and records that go to somebody else.

Everything here runs under the locks of all the account's origins: no page lands in between (docs/decisions/locks.md).
Points follow by the ledger's own steps: a merge moves lots, a record that moves is settled with its new owner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import Q

from aiqsync.accounts.models import User
from integrations.models import Customer
from integrations.services import lock_origins

from . import changes, earning, favourites, ledger, overrides
from .models import Enrolment, Identifier, IdentifierKind, Merge, NotTheSame, Persona, Source, SourceMove, Wallet
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
    overrides.follow(account_id=account_id, root_ids=[survivor.pk])
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
    if survivor.is_test or loser.is_test:
        raise CannotMerge("One of the two is the test shopper of a rehearsal: it stays by itself.")
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
    changes.follow(account_id=account_id, persona_ids=list(root_ids), now=now)
    favourites.follow(account_id=account_id, persona_ids=root_ids)


def split(*, account_id: int, merge_id: int, user: User | None, now: datetime) -> Merge:
    """Take a merge back; what was spent stays spent. Raises CannotMerge. Taken back twice is once."""
    with transaction.atomic():
        lock_origins(account_id=account_id)
        found = Merge.unscoped.filter(account_id=account_id, pk=merge_id).first()
        if found is None:
            raise CannotMerge("There is no such merge.")
        if found.split_at:
            return found
        root, erased_at = Persona.unscoped.values_list("merged_into_id", "erased_at").get(pk=found.loser_id)
        if erased_at:
            raise CannotMerge("This person was removed on request: there is nothing to take apart.")
        try:
            ledger.split(account_id=account_id, merge_id=merge_id, now=now)
        except ledger.CannotMerge:
            raise CannotMerge("This record is not part of another any more.") from None
        Merge.unscoped.filter(pk=merge_id).update(split_by=user)
        _say_again(account_id, [found.loser_id, root])
        if user is not None:  # somebody decided: the next edit in the POS does not join them again
            _two_people(account_id, found.loser_id, found.survivor_id, user, now)
        _renew(account_id, [found.loser_id, root], now)
        found.refresh_from_db()
        return found


def _say_again(account_id: int, root_ids: Sequence[int]) -> None:
    """Each of the two shows what its own records say, and what is overridden of it."""
    if any(overrides.of(account_id=account_id, persona_id=one) for one in root_ids):
        overrides.follow(account_id=account_id, root_ids=root_ids)
        with connection.cursor() as cursor:
            mine = Source.unscoped.filter(account_id=account_id).filter(
                Q(persona__in=root_ids) | Q(persona__merged_into__in=root_ids)
            )
            refresh(cursor, account_id, list(mine.values_list("customer_id", flat=True)))


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
        before = source.persona_id
        move_source(account_id=account_id, source=source, to_id=made.pk, why="split", value="", user=user, now=now)
        _two_people(account_id, before, made.pk, user, now)
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
    kept = {known for one in others for known in borne_by(one.customer)}
    for kind, value in borne_by(customer) - kept:
        Identifier.unscoped.filter(persona_id=source.persona_id, kind=kind, value=value).update(persona=made)
    # A membership is not lost with the split: the person goes on earning from the same day.
    for enrolment in Enrolment.unscoped.filter(persona_id=source.persona_id).order_by("id")[:1]:
        Enrolment.unscoped.create(
            account_id=account_id, persona=made, ground=enrolment.ground, from_date=enrolment.from_date,
            user_id=enrolment.user_id, note="Split from another record", at=now,
        )  # fmt: skip
        Persona.unscoped.filter(pk=made.pk).update(member_from=enrolment.from_date)
        made.member_from = enrolment.from_date
    return made


def borne_by(customer: Customer) -> set[tuple[str, str]]:
    """What a record can be known by, as (kind, value)."""
    name = folded_name(customer)
    known = {
        IdentifierKind.PHONE: customer.phone,
        IdentifierKind.EMAIL: customer.email,
        IdentifierKind.NAME_BIRTH: name_birth(name, customer.birth_date),
        IdentifierKind.GOVERNMENT_ID: customer.government_id,
        IdentifierKind.MEDICAL_ID: customer.medical_id,
    }
    return {(kind.value, value) for kind, value in known.items() if value}


def name_birth(name: str, born: date | None) -> str:
    """A folded name with a birth date, as an identifier."""
    return f"{name}|{born}"[:254] if name and born else ""


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
    _left_behind(account_id, before, source.customer)
    earning.settle_personas(account_id=account_id, persona_ids=[before, to_id], now=now)
    favourites.follow(account_id=account_id, persona_ids=_roots(account_id, [before, to_id]))


def _roots(account_id: int, ids: Sequence[int]) -> set[int]:
    found = Persona.unscoped.filter(account_id=account_id, pk__in=ids).values_list("pk", "merged_into_id")
    return {root or pk for pk, root in found}


def _left_behind(account_id: int, persona_id: int, gone: Customer) -> None:
    """Who a record left shows what is known of him without it: no phone, e-mail or name that only the record had."""
    remaining = list(
        Source.unscoped.filter(account_id=account_id)
        .filter(Q(persona_id=persona_id) | Q(persona__merged_into_id=persona_id))
        .values_list("customer_id", flat=True)
    )
    with connection.cursor() as cursor:
        for field in ("phone", "email"):
            cursor.execute(
                f"""UPDATE loyalty_persona p SET {field} = coalesce((
                        SELECT i.value FROM loyalty_identifier i WHERE i.persona_id = p.id AND i.kind = '{field}'
                        ORDER BY i.shared, i.id DESC LIMIT 1), '')
                    WHERE p.id = %s AND p.account_id = %s AND p.{field} = %s AND p.{field} <> ''
                      AND NOT EXISTS (SELECT FROM loyalty_identifier i JOIN loyalty_persona g ON g.id = i.persona_id
                                      WHERE (g.id = p.id OR g.merged_into_id = p.id) AND i.kind = '{field}'
                                        AND i.value = p.{field})
                      AND NOT EXISTS (SELECT FROM loyalty_override v WHERE v.persona_id = p.id AND v.field = '{field}')
                      AND NOT EXISTS (SELECT FROM integrations_customer c
                                      WHERE c.id = ANY(%s) AND c.{field} = p.{field})""",
                [persona_id, account_id, getattr(gone, field), remaining],
            )
        refresh(cursor, account_id, remaining)


# What the POS says (`said`), and the overrides of each group, the latest last. One ends when the POS says what it had
# not said when the override was set; an empty field says nothing.
_REFRESH = """
WITH said AS MATERIALIZED (
    SELECT DISTINCT ON (r.id) r.id, c.first_name, c.last_name, c.phone, c.email, c.birth_date, c.customer_type
    FROM loyalty_source touched
    JOIN loyalty_persona own ON own.id = touched.persona_id
    JOIN loyalty_persona r ON r.id = coalesce(own.merged_into_id, own.id)
    JOIN loyalty_persona p ON p.id = r.id OR p.merged_into_id = r.id
    JOIN loyalty_source s ON s.persona_id = p.id
    JOIN integrations_customer c ON c.id = s.customer_id AND c.merged_into = ''
    WHERE touched.account_id = %s AND touched.customer_id = ANY(%s)
    ORDER BY r.id, c.modified_at DESC NULLS LAST, c.id DESC
), held AS MATERIALIZED (
    SELECT said.id, v.id AS override, v.field, v.value, v.at, x.now <> '' AND x.now <> ALL(v.seen) AS ended
    FROM said JOIN loyalty_persona g ON g.id = said.id OR g.merged_into_id = said.id
    JOIN loyalty_override v ON v.persona_id = g.id
    CROSS JOIN LATERAL (SELECT CASE v.field
        WHEN 'first_name' THEN said.first_name WHEN 'last_name' THEN said.last_name WHEN 'phone' THEN said.phone
        WHEN 'email' THEN said.email WHEN 'birth_date' THEN coalesce(said.birth_date::text, '') ELSE '' END AS now) x
), ended AS (
    DELETE FROM loyalty_override v USING held WHERE v.id = held.override AND held.ended
), kept AS (
    SELECT id, jsonb_object_agg(field, value ORDER BY at, override) AS say FROM held WHERE NOT ended GROUP BY id
)
UPDATE loyalty_persona t SET first_name = f.first_name, last_name = f.last_name, phone = f.phone,
       email = f.email, birth_date = f.birth_date, customer_type = f.customer_type
FROM (
    SELECT r.id, coalesce(k.say ->> 'first_name', nullif(c.first_name, ''), r.first_name) AS first_name,
           coalesce(k.say ->> 'last_name', nullif(c.last_name, ''), r.last_name) AS last_name,
           coalesce(k.say ->> 'phone', nullif(c.phone, ''), r.phone) AS phone,
           coalesce(k.say ->> 'email', nullif(c.email, ''), r.email) AS email,
           coalesce((k.say ->> 'birth_date')::date, c.birth_date, r.birth_date) AS birth_date,
           coalesce(nullif(c.customer_type, ''), r.customer_type) AS customer_type
    FROM said c JOIN loyalty_persona r ON r.id = c.id LEFT JOIN kept k ON k.id = c.id
) f JOIN loyalty_persona before ON before.id = f.id
WHERE t.id = f.id AND (t.first_name, t.last_name, t.phone, t.email, t.birth_date, t.customer_type)
      IS DISTINCT FROM (f.first_name, f.last_name, f.phone, f.email, f.birth_date, f.customer_type)
RETURNING t.id, t.customer_type <> before.customer_type
"""


def refresh(cursor, account_id: int, customer_ids: Sequence[int]) -> set[int]:
    """The POS is the source of truth for contact data: a persona shows its group's latest edited customer.

    A field that is empty there keeps what we have: an invalid phone never replaces a good one. What is overridden stays
    so until the POS says something new. Returns whose type changed.
    """
    if not customer_ids:
        return set()
    cursor.execute(_REFRESH, [account_id, list(customer_ids)])
    return {root for root, retyped in cursor.fetchall() if retyped}


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
      AND NOT is_test
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
    people = Persona.unscoped.filter(account_id=account_id, pk__in=(one_id, other_id), erased_at=None)
    if one_id == other_id or people.count() != 2:
        raise CannotMerge("Two different people of this account are needed.")
    _two_people(account_id, one_id, other_id, user, now)


def _two_people(account_id: int, one_id: int, other_id: int, user: User | None, now: datetime) -> None:
    one, other = sorted((one_id, other_id))
    NotTheSame.unscoped.get_or_create(
        account_id=account_id, one_id=one, other_id=other, defaults={"user": user, "at": now}
    )
