"""Shoppers who come from another loyalty service: their balances, memberships and ids, from its export of contacts.

Balances become `import` lots, once for each contact: the key is the contact's, so the same file again posts nothing.
The old contact id becomes an alias. POS records that the export names become the person's, now or when they arrive.
Nothing in an export is a permission to send messages: consent is not touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection

from aiqsync.accounts.models import Account, User
from aiqsync.accounts.tenancy import acting_in
from integrations import suppression
from integrations.kit.records import ContactRecord
from integrations.services import lock_origins

from . import expiry, ledger, merging, personas
from .models import Ground

SAMPLE = 10
ZERO = Decimal(0)
NOTE = "Member of the loyalty programme before"

# Of these, what is known already: by an earlier import, by phone, by e-mail. The first of them decides.
_KNOWN = """
WITH wanted AS (
    SELECT * FROM unnest(%(aliases)s::text[], %(phones)s::text[], %(emails)s::text[]) w (alias, phone, email)
)
SELECT w.alias, root.id, root.contact_id::text, coalesce(b.balance, 0)
FROM wanted w
CROSS JOIN LATERAL (
    SELECT persona_id, rank FROM (
        SELECT a.persona_id, 1 AS rank FROM loyalty_contactalias a
        WHERE a.account_id = %(account)s AND a.alias = w.alias
        UNION ALL SELECT i.persona_id, 2 FROM loyalty_identifier i
        WHERE i.account_id = %(account)s AND i.kind = 'phone' AND i.value = w.phone AND w.phone <> '' AND NOT i.shared
        UNION ALL SELECT i.persona_id, 3 FROM loyalty_identifier i
        WHERE i.account_id = %(account)s AND i.kind = 'email' AND i.value = w.email AND w.email <> '' AND NOT i.shared
    ) hit ORDER BY rank LIMIT 1
) hit
JOIN loyalty_persona p ON p.id = hit.persona_id
JOIN loyalty_persona root ON root.id = coalesce(p.merged_into_id, p.id)
LEFT JOIN loyalty_wallet b ON b.persona_id = root.id
"""


def key_of(origin_id: int, external_id: str) -> str:
    return f"import:{origin_id}:{external_id}"


def count(
    *, account_id: int, origin_id: int, contacts: Sequence[ContactRecord], so_far: dict[str, Any], now: datetime
) -> dict[str, Any]:
    """What taking these over would do, added to the figures so far. Nothing is written."""
    figures = {
        "shoppers": 0, "members": 0, "with_points": 0, "points": "0", "known": 0, "new": 0, "already": 0,
        "negative": 0, "negative_points": "0", "removed": 0, "unreachable": 0, "outsiders_points": "0",
        "platforms": {}, "sample": [],
    } | so_far  # fmt: skip
    if not contacts:
        return figures
    known = _known(account_id, contacts)
    posted = _posted(account_id, origin_id, contacts)
    gone = _removed(account_id, origin_id, contacts)
    points, negative, outsiders = (Decimal(figures[n]) for n in ("points", "negative_points", "outsiders_points"))
    platforms = dict(figures["platforms"])
    sample = list(figures["sample"])
    for one in contacts:
        if one.external_id in gone:
            figures["removed"] += 1
            continue
        figures["shoppers"] += 1
        figures["members"] += one.member
        figures["known" if one.external_id in known else "new"] += 1
        figures["unreachable"] += not one.customer.phone and not one.customer.email
        for platform, _ in one.sources:
            platforms[platform] = platforms.get(platform, 0) + 1
        if one.external_id in posted:
            figures["already"] += 1
        elif one.points > 0:
            figures["with_points"] += 1
            points += one.points
            outsiders += ZERO if one.member else one.points
            _, contact, balance = known.get(one.external_id, (0, "", ZERO))
            sample.append([one.external_id, str(one.points), contact, str(balance)])
        elif one.points < 0:
            figures["negative"] += 1
            negative += one.points
    sample.sort(key=lambda row: (-Decimal(row[1]), row[0]))
    return figures | {
        "points": str(points), "negative_points": str(negative), "outsiders_points": str(outsiders),
        "platforms": platforms, "sample": sample[:SAMPLE],
    }  # fmt: skip


def _known(account_id: int, contacts: Sequence[ContactRecord]) -> dict[str, tuple[int, str, Decimal]]:
    """Contact id -> (root, its contact id here, its balance)."""
    with connection.cursor() as cursor:
        cursor.execute(
            _KNOWN,
            {
                "account": account_id, "aliases": [one.external_id for one in contacts],
                "phones": [one.customer.phone for one in contacts], "emails": [one.customer.email for one in contacts],
            },
        )  # fmt: skip
        return {alias: (root, contact, balance) for alias, root, contact, balance in cursor.fetchall()}


def _posted(account_id: int, origin_id: int, contacts: Sequence[ContactRecord]) -> set[str]:
    """Whose balance was imported before."""
    keys = {key_of(origin_id, one.external_id): one.external_id for one in contacts}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT key FROM loyalty_entry WHERE account_id = %s AND key = ANY(%s)",
            [account_id, list(keys)],
        )
        return {keys[row[0]] for row in cursor.fetchall()}


def _removed(account_id: int, origin_id: int, contacts: Sequence[ContactRecord]) -> set[str]:
    """Those who asked to be forgotten, by any of what the row says. Landing makes stubs of them."""
    bears = {
        one.external_id: {
            (suppression.SOURCE, suppression.source_value(origin_id, one.external_id)),
            (suppression.PHONE, one.customer.phone),
            (suppression.EMAIL, one.customer.email),
        }
        for one in contacts
    }
    hits = suppression.listed(account_id=account_id, known=[known for some in bears.values() for known in some])
    return {one for one, some in bears.items() if some & hits}


# Imported before, its row whoever's by now: already. Held: a POS's balance is mirrored into this wallet.
_FIGURE = {"posted": "lots", "already": "already", "removed": "removed", "mirror": "held"}


@dataclass
class _Taken:
    contact: ContactRecord
    row: int  # the persona's row that bears the record
    root: int = 0


def take(
    *,
    account_id: int,
    origin_id: int,
    contacts: Sequence[ContactRecord],
    so_far: dict[str, Any],
    user_id: int | None,
    earn_from: date | None,
    now: datetime,
) -> dict[str, Any]:
    """Take these over, in the caller's transaction; their customers have landed. Done twice it is done once.

    Locks, in the house's order: all origins, personas, wallets.
    """
    figures = {"shoppers": 0, "enrolled": 0, "lots": 0, "points": "0", "already": 0, "removed": 0, "joined": 0,
               "apart": 0, "negative": 0, "held": 0} | so_far  # fmt: skip
    if not contacts:
        return figures
    with acting_in(account_id):
        lock_origins(account_id=account_id)
        taken = _landed(account_id, origin_id, contacts)
        figures["removed"] += len({one.external_id for one in contacts}) - len(taken)
        figures["shoppers"] += len(taken)
        _name(account_id, origin_id, taken, now)
        joined, apart = meet(account_id=account_id, persona_ids=[one.row for one in taken], now=now)
        figures["joined"] += joined
        figures["apart"] += apart
        _find_roots(taken)
        figures["enrolled"] += personas.enrol_many(
            account_id=account_id, persona_ids=[one.root for one in taken if one.contact.member],
            ground=Ground.IMPORT, from_date=earn_from or _today(account_id, now), now=now,
            user=User.objects.filter(pk=user_id).first() if user_id else None, note=NOTE,
        )  # fmt: skip
        # A balance here is never below zero: it is listed, nothing is posted.
        figures["negative"] += sum(one.contact.points < 0 for one in taken)
        owed = sorted(
            (one for one in taken if one.contact.points > 0), key=lambda one: (one.root, one.contact.external_id)
        )
        came = ledger.import_balances(
            account_id=account_id, expires_at=expiry.for_posting(account_id=account_id, kind="import", now=now),
            now=now, user_id=user_id,
            balances=[
                ledger.TakenOver(
                    one.root, one.contact.points, key_of(origin_id, one.contact.external_id),
                    {"why": "import", "contact": one.contact.external_id},
                )
                for one in owed
            ],
        )  # fmt: skip
        posted = Decimal(figures["points"])
        for one, outcome in zip(owed, came, strict=True):
            figures[_FIGURE[outcome]] += 1
            posted += one.contact.points if outcome == "posted" else ZERO
    return figures | {"points": str(posted)}


def _today(account_id: int, now: datetime) -> date:
    return now.astimezone(ZoneInfo(Account.objects.values_list("timezone", flat=True).get(pk=account_id))).date()


def _landed(account_id: int, origin_id: int, contacts: Sequence[ContactRecord]) -> list[_Taken]:
    """Those whose record has a persona; of somebody removed it has none."""
    named = {one.external_id: one for one in contacts}
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.external_id, s.persona_id FROM integrations_customer c
               JOIN loyalty_source s ON s.customer_id = c.id
               JOIN loyalty_persona p ON p.id = s.persona_id AND p.erased_at IS NULL
               WHERE c.account_id = %s AND c.origin_id = %s AND c.external_id = ANY(%s) AND c.erased_at IS NULL""",
            [account_id, origin_id, list(named)],
        )
        return [_Taken(named[external_id], row) for external_id, row in cursor.fetchall()]


def _find_roots(taken: Sequence[_Taken]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, coalesce(merged_into_id, id) FROM loyalty_persona WHERE id = ANY(%s)",
            [[one.row for one in taken]],
        )
        roots = dict(cursor.fetchall())
    for one in taken:
        one.root = roots[one.row]


def _name(account_id: int, origin_id: int, taken: Sequence[_Taken], now: datetime) -> None:
    """Aliases, with the balance the file told, and the POS records it named. Who said it first keeps a record."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO loyalty_contactalias AS t
                   (account_id, origin_id, persona_id, alias, points, member_since, at)
               SELECT %s, %s, w.row, w.alias, w.points, w.since, %s
               FROM unnest(%s::bigint[], %s::text[], %s::numeric[], %s::date[]) w (row, alias, points, since)
               ORDER BY w.alias
               ON CONFLICT (account_id, alias) DO UPDATE SET persona_id = excluded.persona_id,
                   points = excluded.points, member_since = excluded.member_since, origin_id = excluded.origin_id
               WHERE (t.persona_id, t.points, t.member_since, t.origin_id) IS DISTINCT FROM
                     (excluded.persona_id, excluded.points, excluded.member_since, excluded.origin_id)""",
            [account_id, origin_id, now, [one.row for one in taken], [one.contact.external_id for one in taken],
             [one.contact.points for one in taken], [one.contact.since for one in taken]],
        )  # fmt: skip
        hints = [(one.row, platform, record) for one in taken for platform, record in one.contact.sources]
        cursor.execute(
            """INSERT INTO loyalty_sourcehint (account_id, persona_id, platform, external_id, at)
               SELECT %s, w.row, w.platform, w.record, %s
               FROM unnest(%s::bigint[], %s::text[], %s::text[]) w (row, platform, record)
               ORDER BY w.platform, w.record ON CONFLICT DO NOTHING""",
            [account_id, now, *([list(column) for column in zip(*hints, strict=True)] or [[]] * 3)],
        )


# Pairs that an export says are one person: whom it named, and whose record it named. Looked at from either side.
_PAIRS = """
SELECT DISTINCT coalesce(p.merged_into_id, p.id), coalesce(q.merged_into_id, q.id)
FROM loyalty_sourcehint h
JOIN loyalty_persona p ON p.id = h.persona_id
JOIN integrations_origin o ON o.account_id = h.account_id AND o.platform = h.platform
JOIN integrations_customer c ON c.origin_id = o.id AND c.external_id = h.external_id AND c.erased_at IS NULL
JOIN loyalty_source s ON s.customer_id = c.id
JOIN loyalty_persona q ON q.id = s.persona_id
WHERE h.account_id = %(account)s AND (h.persona_id = ANY(%(personas)s) OR c.id = ANY(%(customers)s))
  AND coalesce(p.merged_into_id, p.id) <> coalesce(q.merged_into_id, q.id)
  AND p.erased_at IS NULL AND q.erased_at IS NULL
ORDER BY 1, 2
"""
# Two different phones never meet by anything less (docs/decisions: identity), and what was split by hand stays split.
_APART = """
SELECT EXISTS (SELECT FROM loyalty_identifier a JOIN loyalty_persona x ON x.id = a.persona_id
               WHERE coalesce(x.merged_into_id, x.id) = %(one)s AND a.kind = 'phone' AND NOT a.shared)
   AND EXISTS (SELECT FROM loyalty_identifier b JOIN loyalty_persona y ON y.id = b.persona_id
               WHERE coalesce(y.merged_into_id, y.id) = %(other)s AND b.kind = 'phone' AND NOT b.shared)
    OR EXISTS (SELECT FROM loyalty_notthesame n
               JOIN loyalty_persona a ON a.id = n.one_id JOIN loyalty_persona b ON b.id = n.other_id
               WHERE n.account_id = %(account)s
                 AND (coalesce(a.merged_into_id, a.id), coalesce(b.merged_into_id, b.id))
                     IN ((%(one)s, %(other)s), (%(other)s, %(one)s)))
"""


def meet(
    *,
    account_id: int,
    now: datetime,
    persona_ids: Sequence[int] = (),
    customer_ids: Sequence[int] = (),
    inside_a_page: bool = False,
) -> tuple[int, int]:
    """Join whom an export says to be one person. (joined, left apart since they contradict). May raise `LandAgain`."""
    joined = apart = 0
    with connection.cursor() as cursor:
        cursor.execute(_PAIRS, {"account": account_id, "personas": list(persona_ids), "customers": list(customer_ids)})
        pairs = cursor.fetchall()
        if pairs and inside_a_page:
            lock_origins(account_id=account_id, inside_a_page=True)
        gone: dict[int, int] = {}
        for one, other in pairs:
            while one in gone:
                one = gone[one]
            while other in gone:
                other = gone[other]
            if one == other:
                continue
            cursor.execute(_APART, {"account": account_id, "one": one, "other": other})
            if cursor.fetchone()[0]:
                apart += 1
                continue
            survivor, loser = min(one, other), max(one, other)
            merging.merge_locked(
                account_id=account_id, survivor_id=survivor, loser_id=loser, why="import", value="", user=None, now=now
            )
            gone[loser] = survivor
            joined += 1
    return joined, apart


# What came of it

MIRRORED = "Not imported: the balance is mirrored from the POS, which alone says what it is."
BELOW_ZERO = "Not imported: it is below zero in the file."


@dataclass(frozen=True, slots=True)
class Difference:
    """A person whose balance here is not what the export told. `here` is today's, after sales and redemptions."""

    contact_id: str
    name: str
    aliases: tuple[str, ...]
    file: Decimal
    imported: Decimal
    since: Decimal  # what sales, redemptions and expiry did besides
    here: Decimal
    why: str = ""  # why it was not imported, or ""

    @property
    def difference(self) -> Decimal:
        return self.here - self.file


_DIFFERENCES = """
WITH told AS (
    SELECT coalesce(p.merged_into_id, p.id) AS root, sum(a.points) AS points,
           array_agg(a.alias ORDER BY a.alias) AS aliases, array_agg('import:' || a.origin_id || ':' || a.alias) AS keys
    FROM loyalty_contactalias a JOIN loyalty_persona p ON p.id = a.persona_id
    WHERE a.account_id = %(account)s AND a.origin_id = %(origin)s GROUP BY 1
), held AS (
    SELECT t.*, coalesce(w.balance, 0) AS balance,
           coalesce((SELECT sum(e.points) FROM loyalty_entry e
                     WHERE e.account_id = %(account)s AND e.key = ANY(t.keys)), 0) AS imported
    FROM told t LEFT JOIN loyalty_wallet w ON w.persona_id = t.root
)
"""


def differences(*, account_id: int, origin_id: int, start: int = 0, size: int | None = 50) -> list[Difference]:
    """Largest first: the balance in the file against the ledger's of today."""
    with connection.cursor() as cursor:
        cursor.execute(
            _DIFFERENCES
            + """SELECT r.contact_id::text, trim(concat(r.first_name, ' ', r.last_name)), h.aliases, h.points,
                        h.imported, h.balance,
                        h.points > 0 AND h.imported = 0 AND loyalty_is_mirrored(
                            %(account)s,
                            ARRAY(SELECT id FROM loyalty_persona WHERE id = h.root OR merged_into_id = h.root))
                 FROM held h JOIN loyalty_persona r ON r.id = h.root WHERE h.points <> h.balance
                 ORDER BY abs(h.balance - h.points) DESC, h.root LIMIT %(size)s OFFSET %(start)s""",
            {"account": account_id, "origin": origin_id, "size": size, "start": start},
        )
        return [
            Difference(
                contact,
                name,
                tuple(aliases),
                file,
                imported,
                here - imported,
                here,
                MIRRORED if mirrored else BELOW_ZERO if file < 0 else "",
            )
            for contact, name, aliases, file, imported, here, mirrored in cursor.fetchall()
        ]


@dataclass(frozen=True, slots=True)
class Tally:
    people: int
    file: Decimal
    here: Decimal
    equal: int
    different: int


def tally(*, account_id: int, origin_id: int) -> Tally:
    """The sums of the same."""
    with connection.cursor() as cursor:
        cursor.execute(
            _DIFFERENCES
            + """SELECT count(*), coalesce(sum(points), 0), coalesce(sum(balance), 0),
                        count(*) FILTER (WHERE points = balance), count(*) FILTER (WHERE points <> balance)
                 FROM held""",
            {"account": account_id, "origin": origin_id},
        )
        return Tally(*cursor.fetchone())
