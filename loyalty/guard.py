"""Numbers that identify nobody: borne by many different people, a shop's own, or one digit over and over.

Such a number joins no records by itself, whatever the order in which they came: when it crosses the threshold, what
only that number had joined is taken apart again. Somebody decides what it is: shared, not real, or one person's.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from django.db import connection, transaction

from aiqsync.accounts.models import User
from integrations.services import e164, is_placeholder, lock_origins

from .models import Identifier, IdentifierKind, Merge, NumberDecision, Override, Persona, Source, SuspectNumber
from .people import fold

PEOPLE = 3  # from so many different people on, a number identifies nobody


class CannotDecide(Exception):
    """The message is a sentence for the person who asked."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """A POS customer who has the number."""

    customer_id: int
    name: str
    birth_date: str | None


def how_many_people(bearers: Iterable[tuple[str, str | None]]) -> int:
    """Different people among (folded name, birth date): another name is another person, unless the birth date is known
    and the same; no name counts as nobody new."""
    groups: list[tuple[set[str], set[str]]] = []
    for name, born in sorted(set(bearers), key=str):
        mine = [g for g in groups if name in g[0] or (born and born in g[1])]
        names, days = {name}, {born} if born else set()
        for group in mine:
            names |= group[0]
            days |= group[1]
            groups.remove(group)
        groups.append((names, days))
    named = [group for group in groups if group[0] != {""}]
    return len(named)


def notice(cursor, *, account_id: int, phones: Sequence[str], now: datetime) -> set[str]:
    """Which of these phones identify nobody; new ones are listed, and what they had joined is taken apart."""
    if not phones:
        return set()
    cursor.execute(
        """SELECT c.phone, n.decision,
                  json_agg(json_build_array(c.first_name || ' ' || c.last_name, c.birth_date))::text
           FROM integrations_customer c
           LEFT JOIN loyalty_suspectnumber n ON n.account_id = c.account_id AND n.phone = c.phone
           WHERE c.account_id = %s AND c.phone = ANY(%s) AND c.erased_at IS NULL
           GROUP BY 1, 2 HAVING count(*) >= %s OR n.decision IS NOT NULL""",
        [account_id, list(phones), PEOPLE],
    )
    rows = cursor.fetchall()
    ours = _own_numbers(cursor, account_id) & set(phones)
    suspect: set[str] = set()
    for phone, decision, bearers in rows:
        if decision == NumberDecision.ONE:
            continue
        people = orjson.loads(bearers)
        different = how_many_people((fold(name), born) for name, born in people)
        if decision or different >= PEOPLE:
            suspect.add(phone)
            _list(account_id, phone, len(people), different, "many", now, new=decision is None)
    decided = {phone for phone, decision, _ in rows if decision == NumberDecision.ONE}
    for phone in sorted(ours - suspect - decided):
        suspect.add(phone)
        _list(account_id, phone, 1, 1, "store", now, new=not any(row[0] == phone for row in rows))
    return suspect


def _own_numbers(cursor, account_id: int) -> set[str]:
    cursor.execute(
        """SELECT a.country, p.phone FROM accounts_account a JOIN (
               SELECT account_id, phone FROM stores_store UNION SELECT account_id, phone FROM integrations_location
           ) p ON p.account_id = a.id AND p.phone <> '' WHERE a.id = %s""",
        [account_id],
    )
    return {number for country, raw in cursor.fetchall() if (number := e164(raw, country))}


def _list(account_id: int, phone: str, customers: int, people: int, reason: str, now: datetime, *, new: bool) -> None:
    SuspectNumber.unscoped.update_or_create(
        account_id=account_id,
        phone=phone,
        defaults={"customers": customers, "people": people},
        create_defaults={
            "account_id": account_id, "phone": phone, "customers": customers, "people": people, "reason": reason,
            "found_at": now,
        },
    )  # fmt: skip
    if new:
        _take_apart(account_id, phone, now, inside_a_page=True)


def notice_papers(cursor, *, account_id: int, papers: Collection[tuple[str, str]], now: datetime) -> set[str]:
    """Which of these (kind, digest) are on too many people: a number typed to get past the field identifies nobody.

    Nobody is asked about them, since nobody could say what they are: only digests are kept.
    """
    suspect: set[str] = set()
    for kind in (IdentifierKind.GOVERNMENT_ID, IdentifierKind.MEDICAL_ID):
        digests = sorted({digest for one, digest in papers if one == kind})
        if not digests:
            continue
        column = kind.value
        cursor.execute(
            f"""SELECT c.{column}, json_agg(json_build_array(c.first_name || ' ' || c.last_name, c.birth_date))::text
                FROM integrations_customer c
                WHERE c.account_id = %s AND c.{column} = ANY(%s) AND c.{column} <> '' AND c.erased_at IS NULL
                GROUP BY 1 HAVING count(*) >= %s""",
            [account_id, digests, PEOPLE],
        )
        for digest, bearers in cursor.fetchall():
            if how_many_people((fold(name), born) for name, born in orjson.loads(bearers)) < PEOPLE:
                continue
            suspect.add(digest)
            if Identifier.unscoped.filter(account_id=account_id, kind=kind, value=digest, shared=False).exists():
                _take_apart(account_id, digest, now, kind=kind, inside_a_page=True)
    return suspect


def _take_apart(
    account_id: int,
    phone: str,
    now: datetime,
    *,
    kind: IdentifierKind = IdentifierKind.PHONE,
    inside_a_page: bool = False,
) -> None:
    """The number identifies nobody from now on, and what only it had joined becomes separate again."""
    from . import merging

    held = Identifier.unscoped.filter(account_id=account_id, kind=kind, value=phone)
    joined = Source.unscoped.filter(account_id=account_id, matched_by=kind, matched_value=phone)
    merges = Merge.unscoped.filter(account_id=account_id, why=kind, value=phone, split_at=None)
    if joined.exists() or merges.exists():
        lock_origins(account_id=account_id, inside_a_page=inside_a_page)
    held.update(shared=True)
    for merge in merges.order_by("-pk"):
        merging.split(account_id=account_id, merge_id=merge.pk, user=None, now=now)
    for persona_id in sorted(set(joined.values_list("persona_id", flat=True))):
        _regroup(account_id, persona_id, (kind.value, phone), now)


def _regroup(account_id: int, persona_id: int, dropped: tuple[str, str], now: datetime) -> None:
    """Records of one persona by what still ties them, the number aside: the first group keeps the persona."""
    from . import merging

    sources = list(Source.unscoped.filter(persona_id=persona_id).select_related("customer", "persona").order_by("pk"))
    group: dict[int, int] = {source.pk: source.pk for source in sources}

    def top(pk: int) -> int:
        while group[pk] != pk:
            pk = group[pk]
        return pk

    bearer: dict[tuple[str, str], int] = {}
    for source in sources:
        customer = source.customer
        for known in merging.borne_by(customer) - {dropped}:
            if known[0] != IdentifierKind.NAME_BIRTH:
                first = bearer.setdefault(known, source.pk)
                one, other = sorted((top(first), top(source.pk)))
                group[other] = one
        if source.matched_by in ("merged_in_pos", "one_person"):
            group[top(source.pk)] = top(sources[0].pk)
    stays = top(sources[0].pk)
    made: dict[int, int] = {}
    for source in sources:
        mine = top(source.pk)
        if mine == stays:
            continue
        if mine not in made:
            made[mine] = merging.own_persona(account_id, source, now).pk
        merging.move_source(
            account_id=account_id, source=source, to_id=made[mine], why="guard", value=dropped[1], user=None, now=now
        )


def mark_shared(*, account_id: int, phone: str, user: User | None, now: datetime) -> SuspectNumber:
    """Somebody knows that several people share this number."""
    if not phone or is_placeholder(phone):
        raise CannotDecide("This number identifies nobody already.")
    with transaction.atomic():
        lock_origins(account_id=account_id)
        bearers = bearers_of(account_id=account_id, phone=phone)
        found, _ = SuspectNumber.unscoped.get_or_create(
            account_id=account_id, phone=phone, defaults={"reason": "many", "found_at": now}
        )
        found.customers = len(bearers)
        found.people = how_many_people((fold(one.name), one.birth_date) for one in bearers)
        return _decide(found, NumberDecision.SHARED, user, now)


def decide(*, account_id: int, suspect_id: int, decision: str, user: User | None, now: datetime) -> SuspectNumber:
    """What a listed number is. It may be decided anew at any time. Raises CannotDecide."""
    if decision not in (NumberDecision.SHARED, NumberDecision.FAKE, NumberDecision.ONE):
        raise CannotDecide("Choose what this number is.")
    with transaction.atomic():
        lock_origins(account_id=account_id)
        found = SuspectNumber.unscoped.select_for_update().filter(account_id=account_id, pk=suspect_id).first()
        if found is None:
            raise CannotDecide("This number is not listed any more.")
        return found if found.decision == decision else _decide(found, decision, user, now)


def _decide(found: SuspectNumber, decision: str, user: User | None, now: datetime) -> SuspectNumber:
    account_id, phone = found.account_id, found.phone
    found.decision, found.user, found.decided_at = decision, user, now
    found.save()
    held = Identifier.unscoped.filter(account_id=account_id, kind=IdentifierKind.PHONE, value=phone)
    if decision == NumberDecision.ONE:
        _join_all(account_id, phone, user, now)
        return found
    _take_apart(account_id, phone, now)
    if decision == NumberDecision.FAKE:
        held.delete()
        Override.unscoped.filter(account_id=account_id, field="phone", value=phone).delete()
        Persona.unscoped.filter(account_id=account_id, phone=phone).update(phone="")
    return found


def _join_all(account_id: int, phone: str, user: User | None, now: datetime) -> None:
    """Everybody with the number is one person: the oldest stays."""
    from . import merging

    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT coalesce(p.merged_into_id, p.id) FROM integrations_customer c
               JOIN loyalty_source s ON s.customer_id = c.id JOIN loyalty_persona p ON p.id = s.persona_id
               WHERE c.account_id = %s AND c.phone = %s AND c.erased_at IS NULL ORDER BY 1""",
            [account_id, phone],
        )
        roots = [row[0] for row in cursor.fetchall()]
    Identifier.unscoped.filter(account_id=account_id, kind=IdentifierKind.PHONE, value=phone).delete()
    if not roots:
        return
    Identifier.unscoped.create(account_id=account_id, persona_id=roots[0], kind=IdentifierKind.PHONE, value=phone)
    for other in roots[1:]:
        merging.merge_locked(
            account_id=account_id,
            survivor_id=roots[0],
            loser_id=other,
            why="one_person",
            value=phone,
            user=user,
            now=now,
        )


def bearers_of(*, account_id: int, phone: str, limit: int = 200) -> list[Bearer]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id, trim(first_name || ' ' || last_name), birth_date::text FROM integrations_customer
               WHERE account_id = %s AND phone = %s AND erased_at IS NULL ORDER BY id LIMIT %s""",
            [account_id, phone, limit],
        )
        return [Bearer(*row) for row in cursor.fetchall()]


def bearers_of_each(*, account_id: int, phones: Sequence[str], limit: int) -> dict[str, list[Bearer]]:
    """The same for several numbers, in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT n.phone, c.id, trim(c.first_name || ' ' || c.last_name), c.birth_date::text
               FROM unnest(%s::text[]) n (phone) CROSS JOIN LATERAL (
                   SELECT * FROM integrations_customer c WHERE c.account_id = %s AND c.phone = n.phone AND c.phone <> ''
                     AND c.erased_at IS NULL ORDER BY c.id LIMIT %s) c ORDER BY c.id""",
            [list(phones), account_id, limit],
        )
        found: dict[str, list[Bearer]] = {}
        for phone, *bearer in cursor.fetchall():
            found.setdefault(phone, []).append(Bearer(*bearer))
    return found


def open_numbers(*, account_id: int) -> tuple[int, int]:
    """How many numbers wait for a decision, and on how many customers they are."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*), coalesce(sum(customers), 0) FROM loyalty_suspectnumber
               WHERE account_id = %s AND decision = 'open'""",
            [account_id],
        )
        return cursor.fetchone()
