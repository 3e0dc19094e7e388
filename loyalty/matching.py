"""Whose record is this? Landed customers become personas at arrival, a page at a time.

Identity is the phone, then the e-mail, then what else is known (docs/decisions/identity.md); POS ids are sources.
Identifiers are rows, and the database's unique constraint decides who was first: whoever loses the race starts the
page again. A source belongs to the row that holds the identifier, also when that row was merged: a split finds it.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from django.db import connection

from aiqsync.accounts.statistics import loaded
from integrations.services import is_placeholder, lock_origins

from . import guard, merging
from .models import IdentifierKind, Source
from .people import fold

WEIGHT = [kind.value for kind in IdentifierKind]  # the highest first


class IdentityRace(Exception):
    """Somebody else took an identifier while this page was decided: land the page again."""


Known = tuple[str, str]  # kind, value


@dataclass(slots=True)
class _Customer:
    pk: int
    phone: str
    email: str
    first_name: str
    last_name: str
    birth_date: date | None
    government_id: str
    medical_id: str
    customer_type: str
    persona: int | None = None  # the row its source names
    source: int | None = None
    matched_by: str = ""
    matched_value: str = ""
    new: bool = False
    merged_away: bool = False  # the POS merged it into another that is known, or on this page:
    heir: "_Customer | None" = None  # the latter
    known: list[Known] = field(default_factory=list)  # what it bears, by weight


@dataclass(slots=True)
class _People:
    """Who holds what: `holder` of an identifier (None: shared), and the root of each row."""

    holder: dict[Known, int | None]
    root: dict[int, int]
    held: dict[int, dict[str, set[str]]]  # by root: kind to values

    def root_of(self, persona: int) -> int:
        return self.root.get(persona, persona)

    def contradict(self, one: int, other: int, kind: str) -> bool:
        """Whether two roots bear different values of a kind that weighs more: two phones never meet by an e-mail."""
        for higher in WEIGHT[: WEIGHT.index(kind)]:
            mine, theirs = (self.held.get(root, {}).get(higher, set()) for root in (one, other))
            if mine and theirs and not mine & theirs:
                return True
        return False


@dataclass(frozen=True, slots=True)
class _Wish:
    survivor: int
    loser: int
    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Matched:
    """`roots` are the personas concerned, `retyped` those who became patients, or are none any more."""

    roots: set[int]
    retyped: set[int]


def match(*, account_id: int, customer_ids: Sequence[int], now: datetime) -> Matched:
    """Give each customer its persona. Eleven statements a page, whatever its size.

    Two personas that a record shows to be one are merged, and a record whose phone is another's by now moves: both are
    rare, and take the locks of all origins.
    """
    if not customer_ids:
        return Matched(set(), set())
    with connection.cursor() as cursor:
        customers, by_name = _load(cursor, account_id, customer_ids)
        suspect = guard.notice(cursor, account_id=account_id, phones=_phones(customers), now=now)
        papers = {paper for c in customers for paper in _papers(c)}
        suspect |= guard.notice_papers(cursor, account_id=account_id, papers=papers, now=now)
        _bear(customers, suspect, by_name)
        people = _people(cursor, account_id, customers)
        merged = _follow_vendor_merges(cursor, account_id, customers, people)
        found, wishes, moves = _decide(cursor, customers, people)
        wishes += _merged_in_pos(merged, people)
        _write_personas(cursor, account_id, [c for c in customers if c.new], now)
        _write_identifiers(cursor, account_id, found, now)
        _write_sources(cursor, account_id, customers, now)
        loaded(
            cursor,
            sum(c.new for c in customers),
            "loyalty_persona",
            "loyalty_identifier",
            "loyalty_source",
            "loyalty_wallet",
        )
        retyped = merging.refresh(cursor, account_id, [c.pk for c in customers if not c.new])
    if wishes or moves:
        wishes, moves = _not_decided(account_id, wishes, moves, people)
    if wishes or moves:
        _act(account_id, wishes, moves, now)
    return Matched({people.root_of(c.persona) for c in customers if c.persona is not None}, retyped)


def _phones(customers: Iterable[_Customer]) -> list[str]:
    return sorted({c.phone for c in customers if c.phone})


def _papers(c: _Customer) -> list[tuple[IdentifierKind, str]]:
    """The digests of papers that the record bears."""
    both = ((IdentifierKind.GOVERNMENT_ID, c.government_id), (IdentifierKind.MEDICAL_ID, c.medical_id))
    return [(kind, digest) for kind, digest in both if digest]


def _load(cursor, account_id: int, ids: Sequence[int]) -> tuple[list[_Customer], bool]:
    """The customers, and whether name and birth date make one person here."""
    cursor.execute(
        """SELECT c.id, c.phone, c.email, c.first_name, c.last_name, c.birth_date, c.government_id, c.medical_id,
                  c.customer_type, s.persona_id, s.id,
                  (SELECT merge_by_name FROM loyalty_programme WHERE account_id = c.account_id)
           FROM integrations_customer c LEFT JOIN loyalty_source s ON s.customer_id = c.id
           WHERE c.account_id = %s AND c.id = ANY(%s) AND c.erased_at IS NULL ORDER BY c.id""",
        [account_id, list(ids)],
    )
    rows = cursor.fetchall()
    found = [_Customer(*row[:11], matched_by="known" if row[9] else "") for row in rows]
    return found, bool(rows and rows[0][11])


def _bear(customers: Iterable[_Customer], suspect: set[str], by_name: bool) -> None:
    """What each record can be known by. A suspect number, or one of one repeated digit, identifies nobody."""
    for c in customers:
        name = fold(f"{c.first_name} {c.last_name}")
        values = {
            IdentifierKind.PHONE: "" if c.phone in suspect or (c.phone and is_placeholder(c.phone)) else c.phone,
            IdentifierKind.EMAIL: c.email,
            IdentifierKind.NAME_BIRTH: merging.name_birth(name, c.birth_date) if by_name else "",
            **{kind: digest for kind, digest in _papers(c) if digest not in suspect},
        }
        c.known = [(kind.value, value) for kind, value in values.items() if value]


def _people(cursor, account_id: int, customers: Sequence[_Customer]) -> _People:
    """Who holds each identifier that the page bears, their roots, and what all of those hold."""
    wanted = sorted({known for c in customers for known in c.known})
    mine = sorted({c.persona for c in customers if c.persona})
    cursor.execute(
        """WITH wanted AS (SELECT * FROM unnest(%(kinds)s::text[], %(values)s::text[]) w(kind, value)),
                hit AS (SELECT i.kind, i.value, i.persona_id, i.shared FROM wanted w
                        JOIN loyalty_identifier i
                        ON i.account_id = %(account)s AND i.kind = w.kind AND i.value = w.value),
                root AS (SELECT DISTINCT coalesce(p.merged_into_id, p.id) AS id FROM loyalty_persona p
                         WHERE p.id IN (SELECT persona_id FROM hit) OR p.id = ANY(%(mine)s))
           SELECT 'hit', kind, value, persona_id, shared, NULL FROM hit
           UNION ALL
           SELECT 'held', i.kind, i.value, p.id, i.shared, root.id
           FROM root JOIN loyalty_persona p ON p.id = root.id OR p.merged_into_id = root.id
           LEFT JOIN loyalty_identifier i ON i.persona_id = p.id""",
        {
            "kinds": [w[0] for w in wanted],
            "values": [w[1] for w in wanted],
            "account": account_id,
            "mine": mine,
        },
    )
    people = _People({}, {}, {})
    for what, kind, value, persona, shared, root in cursor.fetchall():
        if what == "hit":
            # Shared anywhere is shared: a phone of a family identifies none of them.
            people.holder[kind, value] = None if shared or (kind, value) in people.holder else persona
        else:
            people.root[persona] = root
            if kind and not shared:
                people.held.setdefault(root, {}).setdefault(kind, set()).add(value)
    return people


# What the POS merged, from either side: the page brings the one that went, or the one it went into.
_VENDOR_MERGES = """
WITH pair AS (
    SELECT l.id AS lost, h.id AS heir FROM integrations_customer l
    JOIN integrations_customer h ON h.origin_id = l.origin_id AND h.external_id = l.merged_into
    WHERE l.id = ANY(%(page)s) AND l.merged_into <> ''
    UNION
    SELECT l.id, h.id FROM integrations_customer h
    JOIN integrations_customer l ON l.origin_id = h.origin_id AND l.merged_into = h.external_id AND l.merged_into <> ''
    WHERE h.id = ANY(%(page)s) AND l.account_id = %(account)s AND l.erased_at IS NULL
)
SELECT pair.lost, pair.heir, lp.id, coalesce(lp.merged_into_id, lp.id), hp.id, coalesce(hp.merged_into_id, hp.id)
FROM pair
LEFT JOIN loyalty_source ls ON ls.customer_id = pair.lost LEFT JOIN loyalty_persona lp ON lp.id = ls.persona_id
LEFT JOIN loyalty_source hs ON hs.customer_id = pair.heir LEFT JOIN loyalty_persona hp ON hp.id = hs.persona_id
WHERE pair.lost <> pair.heir ORDER BY 1, 2
"""
_End = _Customer | int | None  # a customer of the page, or the persona of one that is not


def _follow_vendor_merges(
    cursor, account_id: int, customers: Sequence[_Customer], people: _People
) -> list[tuple[_End, _End]]:
    """A customer that the POS merged into another, and that is new to us, belongs to the other's persona.

    Returns (heir, lost) where both may have a persona of their own: those become one person once the page is decided.
    """
    mine = {c.pk: c for c in customers}
    cursor.execute(_VENDOR_MERGES, {"page": list(mine), "account": account_id})
    both: list[tuple[_End, _End]] = []
    for lost_pk, heir_pk, lost_persona, lost_root, heir_persona, heir_root in cursor.fetchall():
        lost, heir = mine.get(lost_pk), mine.get(heir_pk)
        people.root |= {row: root for row, root in ((lost_persona, lost_root), (heir_persona, heir_root)) if row}
        if lost is not None:
            lost.merged_away, lost.heir = True, heir
            if lost.persona is None and heir_persona:
                lost.persona, lost.matched_by = heir_persona, "merged_in_pos"
        both.append((heir or heir_persona, lost or lost_persona))
    return both


def _heirs_first(customers: Sequence[_Customer]) -> list[_Customer]:
    """In their order, but after whomever of the page the POS merged them into."""
    ordered: dict[int, _Customer] = {}
    for c in customers:
        line: list[_Customer] = []
        at: _Customer | None = c
        while at is not None and at.pk not in ordered and at not in line:
            line.append(at)
            at = at.heir
        ordered |= {one.pk: one for one in reversed(line)}
    return list(ordered.values())


def _decide(
    cursor, customers: Sequence[_Customer], people: _People
) -> tuple[list[tuple[int, str, str]], list[_Wish], list[tuple[_Customer, int]]]:
    """Fill in each customer's persona. Returns identifiers to write (persona, kind, value), merges and moves."""
    missing = sum(1 for c in customers if c.persona is None)
    cursor.execute(
        "SELECT nextval(pg_get_serial_sequence('loyalty_persona', 'id')) FROM generate_series(1, %s)", [missing]
    )
    free = iter([row[0] for row in cursor.fetchall()])
    found: list[tuple[int, str, str]] = []
    wishes: list[_Wish] = []
    moves: list[tuple[_Customer, int]] = []
    for c in _heirs_first(customers):
        if c.persona is None and c.heir is not None and c.heir.persona is not None:
            c.persona, c.matched_by = c.heir.persona, "merged_in_pos"
        elif c.persona is None:
            _join(c, people, free)
        elif not c.merged_away and (to := _moved(c, people)):
            moves.append((c, to))
            continue
        assert c.persona is not None
        root = people.root_of(c.persona)
        for kind, value in c.known:
            if (kind, value) not in people.holder:
                people.holder[kind, value] = c.persona
                people.held.setdefault(root, {}).setdefault(kind, set()).add(value)
                found.append((c.persona, kind, value))
        wishes += _merges(c, root, people)
    return found, wishes, moves


def _join(c: _Customer, people: _People, free) -> None:
    """The holder of the highest identifier, unless a higher one of the record contradicts; else somebody new."""
    for kind, value in c.known:
        holder = people.holder.get((kind, value))
        if holder is None:
            continue
        theirs = people.held.get(people.root_of(holder), {})
        higher = [known for known in c.known if WEIGHT.index(known[0]) < WEIGHT.index(kind)]
        if any(theirs.get(k) and v not in theirs[k] for k, v in higher):
            continue
        c.persona, c.matched_by, c.matched_value = holder, kind, value
        return
    c.persona, c.matched_by, c.new = next(free), "new", True


def _moved(c: _Customer, people: _People) -> int | None:
    """A known record whose phone is another's by now, and which nothing else ties to where it is: to whom it goes."""
    phone = next((known for known in c.known if known[0] == IdentifierKind.PHONE), None)
    holder = people.holder.get(phone) if phone else None
    if holder is None or c.persona is None or people.root_of(holder) == people.root_of(c.persona):
        return None
    own = people.held.get(people.root_of(c.persona), {})
    tied = any(value in own.get(kind, ()) for kind, value in c.known if kind != IdentifierKind.PHONE)
    return None if tied else holder


def _merges(c: _Customer, root: int, people: _People) -> list[_Wish]:
    """Other roots that hold something this record bears. Who holds the higher identifier survives, then the older."""
    if c.new and len(c.known) < 2:
        return []
    wishes = []
    for kind, value in c.known:
        holder = people.holder.get((kind, value))
        other = people.root_of(holder) if holder is not None else root
        if other == root or people.contradict(root, other, kind):
            continue
        first = next((k for k, v in c.known if people.root_of(people.holder.get((k, v)) or 0) in (root, other)), kind)
        top = next(people.root_of(people.holder[k, v] or 0) for k, v in c.known if k == first)
        survivor, loser = (root, other) if first != kind and top == root else (min(root, other), max(root, other))
        wishes.append(_Wish(survivor, loser, kind, value))
    return wishes


def _merged_in_pos(merged: Iterable[tuple[_End, _End]], people: _People) -> list[_Wish]:
    """By the POS's own word two records are one person, whatever they bear."""
    wishes = []
    for heir, lost in merged:
        survivor, loser = ((one.persona if isinstance(one, _Customer) else one) for one in (heir, lost))
        if survivor and loser and people.root_of(survivor) != people.root_of(loser):
            wishes.append(_Wish(people.root_of(survivor), people.root_of(loser), "pos", ""))
    return wishes


def _not_decided(
    account_id: int, wishes: list[_Wish], moves: list[tuple[_Customer, int]], people: _People
) -> tuple[list[_Wish], list[tuple[_Customer, int]]]:
    """Without those of whom somebody said that they are two people: what was split by hand stays split."""

    def pair(one: int, other: int) -> frozenset[int]:
        return frozenset((people.root_of(one), people.root_of(other)))

    merges = {wish: pair(wish.survivor, wish.loser) for wish in wishes}
    goings = [(move, pair(move[0].persona or 0, move[1])) for move in moves]
    asked = {root for two in (*merges.values(), *(two for _, two in goings)) for root in two}
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT coalesce(a.merged_into_id, a.id), coalesce(b.merged_into_id, b.id)
               FROM loyalty_notthesame n
               JOIN loyalty_persona a ON a.id = n.one_id JOIN loyalty_persona b ON b.id = n.other_id
               WHERE n.account_id = %s AND coalesce(a.merged_into_id, a.id) = ANY(%s)
                 AND coalesce(b.merged_into_id, b.id) = ANY(%s)""",
            [account_id, sorted(asked), sorted(asked)],
        )
        decided = {frozenset(row) for row in cursor.fetchall()}
    return (
        [wish for wish in wishes if merges[wish] not in decided],
        [move for move, two in goings if two not in decided],
    )


def _act(account_id: int, wishes: list[_Wish], moves: list[tuple[_Customer, int]], now: datetime) -> None:
    lock_origins(account_id=account_id, inside_a_page=True)
    gone: dict[int, int] = {}  # merged just now, and into whom

    def root(persona: int) -> int:
        while persona in gone:
            persona = gone[persona]
        return persona

    for wish in sorted(set(wishes), key=lambda one: (one.survivor, one.loser)):
        survivor, loser = root(wish.survivor), root(wish.loser)
        if survivor != loser:
            merging.merge_locked(
                account_id=account_id, survivor_id=survivor, loser_id=loser, why=wish.kind, value=wish.value,
                user=None, now=now,
            )  # fmt: skip
            gone[loser] = survivor
    for customer, to in moves:
        source = Source.unscoped.get(account_id=account_id, pk=customer.source)
        merging.move_source(
            account_id=account_id,
            source=source,
            to_id=to,
            why="phone_changed",
            value=customer.phone,
            user=None,
            now=now,
        )
        customer.persona = to


def _write_personas(cursor, account_id: int, customers: Sequence[_Customer], now: datetime) -> None:
    if not customers:
        return
    with cursor.copy(
        "COPY loyalty_persona (id, account_id, contact_id, first_name, last_name, phone, email, birth_date,"
        " customer_type, created_at) FROM STDIN"
    ) as out:
        for c in customers:
            out.write_row(
                (c.persona, account_id, uuid.uuid4(), c.first_name, c.last_name, c.phone, c.email, c.birth_date,
                 c.customer_type, now)
            )  # fmt: skip
    with cursor.copy("COPY loyalty_wallet (persona_id, account_id, balance) FROM STDIN") as out:
        for c in customers:
            out.write_row((c.persona, account_id, 0))


def _write_identifiers(cursor, account_id: int, found: list[tuple[int, str, str]], now: datetime) -> None:
    if not found:
        return
    found.sort(key=lambda row: (row[1], row[2]))  # one order for everybody: two pages never wait for each other
    cursor.execute(
        """INSERT INTO loyalty_identifier (account_id, persona_id, kind, value, shared, created_at)
           SELECT %s, w.persona, w.kind, w.value, false, %s
           FROM unnest(%s::bigint[], %s::text[], %s::text[]) w(persona, kind, value)
           ON CONFLICT (account_id, kind, value) WHERE NOT shared DO NOTHING""",
        [account_id, now, [f[0] for f in found], [f[1] for f in found], [f[2] for f in found]],
    )
    if cursor.rowcount != len(found):
        raise IdentityRace


def _write_sources(cursor, account_id: int, customers: Sequence[_Customer], now: datetime) -> None:
    fresh = [c for c in customers if c.matched_by != "known"]
    if not fresh:
        return
    cursor.execute(
        """INSERT INTO loyalty_source (account_id, persona_id, customer_id, matched_by, matched_value, linked_at)
           SELECT %s, w.persona, w.customer, w.why, w.value, %s
           FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[]) w(persona, customer, why, value)
           ORDER BY w.customer ON CONFLICT (customer_id) DO NOTHING""",
        [
            account_id,
            now,
            [c.persona for c in fresh],
            [c.pk for c in fresh],
            [c.matched_by for c in fresh],
            [c.matched_value for c in fresh],
        ],  # fmt: skip
    )
    if cursor.rowcount != len(fresh):
        raise IdentityRace
