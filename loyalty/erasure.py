"""A person is removed on request: what is known of him goes, what the books need stays under a bare number.

The whole group goes together, the root and every row merged into it. What goes, what stays and why is written in
docs/decisions/erasure.md. Nothing brings the person back: digests of his phones, e-mails and POS records stay on a list
that landing and every sign-up ask, and what he said about messages stays said.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from aiqsync.accounts import audit
from aiqsync.accounts.models import Account, User
from integrations import suppression
from integrations.services import e164, email_of, forget_writes, is_placeholder, lock_origins

from . import addresses, checkins, consent, ledger
from .models import NumberDecision, Persona
from .webhooks import reading

TRIES = 5
LOCK = "FOR NO KEY UPDATE"  # of the personas: a merge waits for it, a redemption that refers to them need not
Known = tuple[str, str]  # kind ("phone", "email") and value
# What a call that was about somebody is answered when it is repeated after he was removed: as for a stranger.
_UNKNOWN = '{"errors":[{"message":"Contact not found"}],"code":404,"success":false}'


class CannotErase(Exception):
    """The message is a sentence for the person who asked."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class _Again(Exception):
    """The group, or what it is known by, changed while its locks were being taken."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What an erasure would do; nothing is written."""

    persona: Persona  # the root
    records: int  # rows of the group
    merged: int
    points: Decimal
    is_member: bool
    open_redemptions: int
    open_points: Decimal
    shortfalls: int
    addresses: int
    shared: tuple[str, ...]  # phones and e-mails that others bear as well
    customers: int
    sales: int
    entries: int
    redemptions: int
    messages: int
    consent_lines: int
    notes: int
    platforms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Erased:
    """`created`: by this call. The figures are those of this call."""

    contact_id: UUID
    at: datetime
    created: bool
    points: Decimal = Decimal(0)
    redemptions: int = 0
    customers: int = 0
    sales: int = 0
    records: int = 0


_FIGURES = """
SELECT (SELECT count(*) FROM loyalty_source WHERE persona_id = ANY(%(rows)s)),
       (SELECT count(*) FROM loyalty_salestate WHERE persona_id = ANY(%(rows)s)),
       (SELECT count(*) FROM loyalty_entry WHERE persona_id = ANY(%(rows)s)),
       (SELECT count(*) FROM loyalty_redemption WHERE persona_id = ANY(%(rows)s)),
       (SELECT count(*) FROM loyalty_message WHERE persona_id = ANY(%(rows)s)),
       (SELECT count(*) FROM loyalty_consentline WHERE persona_id = ANY(%(rows)s)),
       (SELECT count(*) FROM loyalty_investigation WHERE persona_id = ANY(%(rows)s))
       + (SELECT count(*) FROM loyalty_entry WHERE persona_id = ANY(%(rows)s) AND note <> '')
       + (SELECT count(*) FROM loyalty_enrolment WHERE persona_id = ANY(%(rows)s) AND note <> ''),
       (SELECT count(*) FROM loyalty_redemption WHERE persona_id = ANY(%(rows)s) AND state = 'applied'),
       (SELECT coalesce(sum(points - reverted_points), 0) FROM loyalty_redemption
        WHERE persona_id = ANY(%(rows)s) AND state = 'applied'),
       (SELECT count(*) FROM loyalty_shortfall WHERE persona_id = ANY(%(rows)s) AND state = 'open'),
       (SELECT coalesce(array_agg(DISTINCT o.platform ORDER BY o.platform), '{}') FROM loyalty_source s
        JOIN integrations_customer c ON c.id = s.customer_id JOIN integrations_origin o ON o.id = c.origin_id
        WHERE s.persona_id = ANY(%(rows)s))
"""


def preview(*, account_id: int, persona_id: int, now: datetime) -> Preview:
    """Raises CannotErase."""
    with connection.cursor() as cursor:
        rows = _group(cursor, account_id, persona_id)
        root = Persona.unscoped.get(pk=rows[0])
        if root.erased_at:
            raise CannotErase("This person was removed on request before.")
        known = _known(cursor, account_id, rows)
        shared = _borne_by_others(cursor, account_id, rows, known)
        cursor.execute(_FIGURES, {"rows": rows})
        (customers, sales, entries, redemptions, messages, lines, notes, waiting, waiting_points, owed, platforms) = (
            cursor.fetchone()
        )
    return Preview(
        persona=root, records=len(rows), merged=len(rows) - 1,
        points=ledger.spendable_points(account_id, root.pk, now), is_member=root.is_member,
        open_redemptions=waiting, open_points=waiting_points, shortfalls=owed, addresses=len(known),
        shared=tuple(sorted(value for _, value in shared)), customers=customers, sales=sales, entries=entries,
        redemptions=redemptions, messages=messages, consent_lines=lines, notes=notes, platforms=tuple(platforms),
    )  # fmt: skip


def erase(*, account_id: int, persona_id: int, user: User | None, now: datetime) -> Erased:
    """Remove the person, once; asked again it answers that it is done. Raises CannotErase.

    Locks, in the house's order: what is said about his addresses, the origins, the personas, the wallets. A page, a
    merge, a sign-up, a redemption come before it and are part of what goes, or after it and find nobody.
    """
    for _ in range(TRIES):
        try:
            with transaction.atomic():
                return _erase(account_id, persona_id, user, now)
        except _Again:
            continue
    raise CannotErase("Others are changing this person's records at the moment. Nothing was removed; try again.")


def _erase(account_id: int, persona_id: int, user: User | None, now: datetime) -> Erased:
    with connection.cursor() as cursor:
        rows = _group(cursor, account_id, persona_id)
        known = _known(cursor, account_id, rows)
        consent.hold(account_id=account_id, known=_channels(known), now=now)
        lock_origins(account_id=account_id)
        cursor.execute(
            "SELECT id, erased_at, contact_id FROM loyalty_persona WHERE account_id = %s AND id = ANY(%s)"
            f" ORDER BY id {LOCK}",
            [account_id, rows],
        )
        people = {pk: (erased_at, contact_id) for pk, erased_at, contact_id in cursor.fetchall()}
        if _group(cursor, account_id, persona_id) != rows or _known(cursor, account_id, rows) != known:
            raise _Again
        erased_at, contact_id = people[rows[0]]
        if erased_at:
            return Erased(contact_id, erased_at, created=False)
        shared = _borne_by_others(cursor, account_id, rows, known)
        own = known - shared
        region = Account.objects.values_list("country", flat=True).get(pk=account_id)
        names = _names(cursor, rows)
        suppression.add(account_id=account_id, known=_worth_listing(cursor, account_id, own), now=now)
        consent.forget(
            account_id=account_id, persona_ids=rows, root_id=rows[0], own=_channels(own), others=_channels(shared),
            user=user, now=now,
        )  # fmt: skip
        cursor.execute("SELECT customer_id FROM loyalty_source WHERE persona_id = ANY(%s)", [rows])
        customers = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT sale_id FROM loyalty_salestate WHERE persona_id = ANY(%s)", [rows])
        receipts = [row[0] for row in cursor.fetchall()]
        sales = suppression.forget(
            account_id=account_id, customer_ids=customers, sale_ids=receipts, known=own, names=names, region=region,
            now=now,
        )  # fmt: skip
        forget_writes(account_id=account_id, subjects=[str(one) for _, one in people.values()])
        _pass_on_shared(cursor, account_id, rows)
        _forget_in_audit(cursor, account_id, rows, [str(one) for _, one in people.values()], own, names)
        for statement in _TAKEN_OUT:
            cursor.execute(statement, {
                "account": account_id, "rows": rows, "now": now, "names": sorted(names), "unknown": _UNKNOWN,
                **_by_kind(own),
            })  # fmt: skip
        closed = ledger.erase(
            account_id=account_id, root_id=rows[0], persona_ids=rows, user_id=user.pk if user else None, now=now
        )
        with consent.erasing() as erasing:
            erasing.execute("UPDATE loyalty_entry SET note = '' WHERE persona_id = ANY(%s) AND note <> ''", [rows])
    return Erased(
        contact_id, now, created=True, points=closed.points, redemptions=closed.redemptions, customers=len(customers),
        sales=sales, records=len(rows),
    )  # fmt: skip


# One statement a table, in no other order than that rows which refer come before those referred to. The persona's own
# row is last: `erased_at` on every row of the group, so that an old contact ID is answered as well.
_TOLD_OF = """EXISTS (SELECT FROM (
    SELECT unnest(%(phone)s::text[] || %(email)s::text[] || %(names)s::text[]) AS word
    UNION ALL SELECT c.contact_id::text FROM loyalty_persona c WHERE c.id = ANY(%(rows)s)) told
    WHERE position(told.word IN {0}) > 0)"""
_TAKEN_OUT = (
    # Its key stays used: whoever repeats the call is told what everybody is, and does not make the person anew.
    f"""UPDATE loyalty_idempotentcall SET status = 404, body = %(unknown)s
        WHERE account_id = %(account)s AND {_TOLD_OF.format("body")}""",
    f"""DELETE FROM loyalty_unmatchedcall
        WHERE account_id = %(account)s AND {_TOLD_OF.format("(path || body || reason)")}""",
    *reading.FORGET,
    checkins.FORGET,
    "DELETE FROM loyalty_sourcemove m USING loyalty_source s WHERE s.id = m.source_id AND s.persona_id = ANY(%(rows)s)",
    """UPDATE loyalty_sourcemove SET value = '' WHERE account_id = %(account)s
       AND (from_persona_id = ANY(%(rows)s) OR to_persona_id = ANY(%(rows)s))""",
    """DELETE FROM loyalty_waitingbalance b USING loyalty_source s
       WHERE s.customer_id = b.customer_id AND s.persona_id = ANY(%(rows)s)""",
    "DELETE FROM loyalty_source WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_identifier WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_contactalias WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_override WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_attribute WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_referral WHERE referrer_id = ANY(%(rows)s) OR referred_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_sourcehint WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_pin WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_pinuse WHERE persona_id = ANY(%(rows)s)",
    """DELETE FROM loyalty_message WHERE account_id = %(account)s AND (persona_id = ANY(%(rows)s)
       OR channel = 'sms' AND address = ANY(%(phone)s) OR channel = 'email' AND address = ANY(%(email)s))""",
    "DELETE FROM loyalty_audiencemember WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_investigation WHERE persona_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_notthesame WHERE one_id = ANY(%(rows)s) OR other_id = ANY(%(rows)s)",
    "DELETE FROM loyalty_blockedphone WHERE account_id = %(account)s AND phone = ANY(%(phone)s)",
    "DELETE FROM loyalty_suspectnumber WHERE account_id = %(account)s AND phone = ANY(%(phone)s)",
    "UPDATE loyalty_enrolment SET note = '' WHERE persona_id = ANY(%(rows)s)",
    "UPDATE loyalty_attachment SET note = '' WHERE persona_id = ANY(%(rows)s)",
    "UPDATE loyalty_shortfall SET note = '' WHERE persona_id = ANY(%(rows)s)",
    "UPDATE loyalty_merge SET value = '' WHERE survivor_id = ANY(%(rows)s) OR loser_id = ANY(%(rows)s)",
    """UPDATE loyalty_review v SET note = '' WHERE v.account_id = %(account)s AND v.note <> '' AND (
           EXISTS (SELECT FROM loyalty_redemption r WHERE r.id = v.redemption_id AND r.persona_id = ANY(%(rows)s))
           OR EXISTS (SELECT FROM loyalty_salestate st
                      WHERE st.sale_id = v.sale_id AND st.persona_id = ANY(%(rows)s)))""",
    """UPDATE loyalty_persona SET first_name = '', last_name = '', phone = '', phone_raw = '', email = '',
           address = '', birth_date = NULL, customer_type = '', member_from = NULL, favourite_store_id = NULL,
           usual_store_id = NULL, last_seen_at = NULL,
           archived_at = NULL, erased_at = %(now)s
       WHERE account_id = %(account)s AND id = ANY(%(rows)s)""",
)


def allow_again(*, account_id: int, term: str, now: datetime) -> str:
    """Let a phone or an e-mail be used again: the shopper came back, or the number is somebody else's by now.

    What was said about messages stays said. The POS's old records stay out; a new one, or a sign-up, comes in. Returns
    the kind. Raises CannotErase when nobody of it was removed.
    """
    region = Account.objects.values_list("country", flat=True).get(pk=account_id)
    kind, value = (suppression.EMAIL, email_of(term)) if "@" in term else (suppression.PHONE, e164(term, region))
    with transaction.atomic():
        lock_origins(account_id=account_id)
        if not value or not suppression.lift(account_id=account_id, kind=kind, value=value):
            raise CannotErase("Nobody of this phone or e-mail was removed.")
        consent.restore(account_id=account_id, channel=addresses.CHANNELS[kind], address=value)
    return kind


# Who and what it is about


def whole(cursor: Any, *, account_id: int, persona_id: int) -> tuple[list[int], set[Known], set[Known]]:
    """The group's rows, root first; its phones and e-mails; those that others bear too. Raises CannotErase: nobody."""
    rows = _group(cursor, account_id, persona_id)
    known = _known(cursor, account_id, rows)
    return rows, known, _borne_by_others(cursor, account_id, rows, known)


def _group(cursor: Any, account_id: int, persona_id: int) -> list[int]:
    """The root first, then the rows merged into it. Raises CannotErase when there is none."""
    cursor.execute(
        """SELECT g.id FROM loyalty_persona p
           JOIN loyalty_persona g ON g.id = coalesce(p.merged_into_id, p.id)
                                  OR g.merged_into_id = coalesce(p.merged_into_id, p.id)
           WHERE p.account_id = %s AND p.id = %s ORDER BY g.merged_into_id IS NOT NULL, g.id""",
        [account_id, persona_id],
    )
    rows = [row[0] for row in cursor.fetchall()]
    if not rows:
        raise CannotErase("There is no such person.")
    return rows


def _known(cursor: Any, account_id: int, rows: Sequence[int]) -> set[Known]:
    """Every phone and e-mail of the group: as identifiers, in its fields, on its POS records, in its journal."""
    cursor.execute(
        """WITH c AS (SELECT c.phone, c.email FROM loyalty_source s JOIN integrations_customer c ON c.id = s.customer_id
                      WHERE s.persona_id = ANY(%(rows)s))
           SELECT kind, value FROM loyalty_identifier WHERE persona_id = ANY(%(rows)s) AND kind IN ('phone', 'email')
           UNION SELECT 'phone', phone FROM loyalty_persona WHERE id = ANY(%(rows)s)
           UNION SELECT 'email', email FROM loyalty_persona WHERE id = ANY(%(rows)s)
           UNION SELECT 'phone', phone FROM c UNION SELECT 'email', email FROM c
           UNION SELECT CASE channel WHEN 'sms' THEN 'phone' ELSE 'email' END, address FROM loyalty_consentline
           WHERE account_id = %(account)s AND persona_id = ANY(%(rows)s)
           UNION SELECT CASE channel WHEN 'sms' THEN 'phone' ELSE 'email' END, address FROM loyalty_message
           WHERE account_id = %(account)s AND persona_id = ANY(%(rows)s)""",
        {"account": account_id, "rows": list(rows)},
    )
    return {(kind, value) for kind, value in cursor.fetchall() if value and not addresses.is_kept(value)}


def _borne_by_others(cursor: Any, account_id: int, rows: Sequence[int], known: Iterable[Known]) -> set[Known]:
    """Those that somebody else bears too: a family's phone stays the others'."""
    found: set[Known] = set()
    for kind in ("phone", "email"):
        values = sorted(value for one, value in known if one == kind)
        if values:
            cursor.execute(
                f"""SELECT {kind} FROM loyalty_persona
                    WHERE account_id = %(account)s AND {kind} = ANY(%(values)s) AND id <> ALL(%(rows)s)
                    UNION SELECT value FROM loyalty_identifier
                    WHERE account_id = %(account)s AND kind = '{kind}' AND value = ANY(%(values)s)
                      AND persona_id <> ALL(%(rows)s)
                    UNION SELECT c.{kind} FROM integrations_customer c
                    LEFT JOIN loyalty_source s ON s.customer_id = c.id
                    WHERE c.account_id = %(account)s AND c.{kind} = ANY(%(values)s)
                      AND (s.id IS NULL OR s.persona_id <> ALL(%(rows)s))""",
                {"account": account_id, "values": values, "rows": list(rows)},
            )
            found |= {(kind, row[0]) for row in cursor.fetchall()}
    return found


def _worth_listing(cursor: Any, account_id: int, own: Collection[Known]) -> list[Known]:
    """What identifies somebody: not a number of one digit over and over, and none that was found to be nobody's."""
    cursor.execute(
        "SELECT phone FROM loyalty_suspectnumber WHERE account_id = %s AND phone = ANY(%s) AND decision <> %s",
        [account_id, [value for kind, value in own if kind == "phone"], NumberDecision.ONE],
    )
    nobodys = {row[0] for row in cursor.fetchall()}
    return [
        (kind, value) for kind, value in own if kind == "email" or not is_placeholder(value) and value not in nobodys
    ]


def _names(cursor: Any, rows: Sequence[int]) -> set[str]:
    """Whole names of the group, as it shows them and as the POS has them."""
    cursor.execute(
        """SELECT first_name, last_name FROM loyalty_persona WHERE id = ANY(%(rows)s)
           UNION SELECT c.first_name, c.last_name FROM loyalty_source s
           JOIN integrations_customer c ON c.id = s.customer_id WHERE s.persona_id = ANY(%(rows)s)""",
        {"rows": list(rows)},
    )
    return {f"{first} {last}".strip() for first, last in cursor.fetchall()} - {""}


def _pass_on_shared(cursor: Any, account_id: int, rows: Sequence[int]) -> None:
    """That a number is shared stays known while others bear it: the mark goes on to one of them."""
    cursor.execute(
        """UPDATE loyalty_identifier i SET persona_id = o.persona
           FROM (SELECT i.id, (SELECT min(p.id) FROM loyalty_persona p
                               WHERE p.account_id = i.account_id AND p.id <> ALL(%(rows)s)
                                 AND i.value IN (p.phone, p.email)) AS persona
                 FROM loyalty_identifier i
                 WHERE i.account_id = %(account)s AND i.persona_id = ANY(%(rows)s) AND i.shared) o
           WHERE i.id = o.id AND o.persona IS NOT NULL""",
        {"account": account_id, "rows": list(rows)},
    )


def _forget_in_audit(
    cursor: Any, account_id: int, rows: Sequence[int], contacts: list[str], own: Collection[Known], names: set[str]
) -> None:
    """The activity log keeps who did what to which number, and nothing that names the shopper."""
    about = {"contact_id": contacts}
    for key, sql in {
        "merge": "SELECT id::text FROM loyalty_merge WHERE survivor_id = ANY(%(rows)s) OR loser_id = ANY(%(rows)s)",
        "redemption": """SELECT id::text FROM loyalty_redemption WHERE persona_id = ANY(%(rows)s)
                         UNION ALL SELECT public_id::text FROM loyalty_redemption WHERE persona_id = ANY(%(rows)s)""",
        "sale": "SELECT sale_id::text FROM loyalty_salestate WHERE persona_id = ANY(%(rows)s)",
        "shortfall": "SELECT id::text FROM loyalty_shortfall WHERE persona_id = ANY(%(rows)s)",
    }.items():
        cursor.execute(sql, {"rows": list(rows)})
        about[key] = [row[0] for row in cursor.fetchall()]
    # One word of a name would be found in others' lines; a first name alone names nobody.
    words = [value for _, value in own] + [name for name in names if " " in name]
    audit.forget(account_id=account_id, about=about, words=words)


def _channels(known: Iterable[Known]) -> list[tuple[str, str]]:
    return [(addresses.CHANNELS[kind], value) for kind, value in sorted(known)]


def _by_kind(known: Iterable[Known]) -> dict[str, list[str]]:
    return {kind: [value for one, value in known if one == kind] for kind in ("phone", "email")}


# For `audits`: (name, promise, query of violations). Together: a removed person holds nothing and is named nowhere.
RULES = (
    (
        "erased-empty",
        "a removed person has no points, no open lots, and a closed wallet",
        """SELECT p.account_id, format('persona %s: balance %s, %s open lots, wallet closed: %s', p.id, w.balance,
                                       l.lots, coalesce(w.closed, false)) AS what
           FROM loyalty_persona p LEFT JOIN loyalty_wallet w ON w.persona_id = p.id
           CROSS JOIN LATERAL (SELECT count(*) AS lots FROM loyalty_lot l WHERE l.persona_id = p.id AND l.open) l
           WHERE p.erased_at IS NOT NULL AND (w.balance IS DISTINCT FROM 0 OR l.lots > 0 OR NOT w.closed)""",
    ),
    (
        "wallet-closed",
        "only the wallet of a removed person is closed",
        """SELECT w.account_id, format('persona %s', w.persona_id) AS what
           FROM loyalty_wallet w JOIN loyalty_persona p ON p.id = w.persona_id
           WHERE w.closed AND p.erased_at IS NULL""",
    ),
    (
        "erased-nameless",
        "nothing in a removed person's row tells who it was",
        """SELECT account_id, format('persona %s', id) AS what FROM loyalty_persona
           WHERE erased_at IS NOT NULL AND (
               (first_name, last_name, phone, phone_raw, email, customer_type, address) <> ('', '', '', '', '', '', '')
               OR birth_date IS NOT NULL OR member_from IS NOT NULL OR favourite_store_id IS NOT NULL
               OR usual_store_id IS NOT NULL
               OR last_seen_at IS NOT NULL)""",
    ),
    (
        "erased-unknown",
        "nothing recognises a removed person: no identifier, no record of a POS",
        """SELECT p.account_id, format('persona %s: %s', p.id, x.what) AS what
           FROM loyalty_persona p JOIN (
               SELECT persona_id, 'identifier ' || id AS what FROM loyalty_identifier
               UNION ALL SELECT persona_id, 'source ' || id FROM loyalty_source
               UNION ALL SELECT persona_id, 'alias ' || id FROM loyalty_contactalias
               UNION ALL SELECT persona_id, 'override ' || id FROM loyalty_override
               UNION ALL SELECT persona_id, 'attribute ' || id FROM loyalty_attribute
               UNION ALL SELECT referrer_id, 'referral ' || id FROM loyalty_referral
               UNION ALL SELECT referred_id, 'referral ' || id FROM loyalty_referral
               UNION ALL SELECT persona_id, 'record named by an export ' || id FROM loyalty_sourcehint
           ) x ON x.persona_id = p.id WHERE p.erased_at IS NOT NULL""",
    ),
    (
        "erased-silent",
        "no message, code, note or group speaks of a removed person",
        """SELECT p.account_id, format('persona %s: %s', p.id, x.what) AS what
           FROM loyalty_persona p JOIN (
               SELECT persona_id, 'message ' || id AS what FROM loyalty_message
               UNION ALL SELECT persona_id, 'pin ' || id FROM loyalty_pin
               UNION ALL SELECT persona_id, 'use of a code ' || id FROM loyalty_pinuse
               UNION ALL SELECT persona_id, 'stay in an audience ' || id FROM loyalty_audiencemember
               UNION ALL SELECT persona_id, 'investigation ' || id FROM loyalty_investigation
               UNION ALL SELECT persona_id, 'note of entry ' || id FROM loyalty_entry WHERE note <> ''
               UNION ALL SELECT persona_id, 'note of enrolment ' || id FROM loyalty_enrolment WHERE note <> ''
               UNION ALL SELECT persona_id, 'note of attachment ' || id FROM loyalty_attachment WHERE note <> ''
               UNION ALL SELECT persona_id, 'note of shortfall ' || id FROM loyalty_shortfall WHERE note <> ''
               UNION ALL SELECT survivor_id, 'merge ' || id FROM loyalty_merge WHERE value <> ''
               UNION ALL SELECT loser_id, 'merge ' || id FROM loyalty_merge WHERE value <> ''
               UNION ALL SELECT persona_id, 'consent line ' || id FROM loyalty_consentline
               WHERE wording <> '' OR address NOT LIKE 'erased:%'
           ) x ON x.persona_id = p.id WHERE p.erased_at IS NOT NULL""",
    ),
    (
        "erased-done",
        "nothing waits for a removed person",
        """SELECT p.account_id, format('persona %s: %s', p.id, x.what) AS what
           FROM loyalty_persona p JOIN (
               SELECT persona_id, 'redemption ' || id AS what FROM loyalty_redemption WHERE state = 'applied'
               UNION ALL SELECT persona_id, 'shortfall ' || id FROM loyalty_shortfall WHERE state = 'open'
               UNION ALL SELECT s.id, 'write ' || o.id FROM integrations_outboundwrite o
               JOIN loyalty_persona s ON s.account_id = o.account_id AND s.contact_id::text = o.subject
               WHERE s.erased_at IS NOT NULL AND (o.state IN ('waiting', 'sending', 'failed') OR o.payload <> '{}')
           ) x ON x.persona_id = p.id WHERE p.erased_at IS NOT NULL""",
    ),
    (
        "erased-together",
        "a person is removed with every row merged into it",
        """SELECT p.account_id, format('persona %s, merged into %s', p.id, r.id) AS what
           FROM loyalty_persona p JOIN loyalty_persona r ON r.id = p.merged_into_id
           WHERE (p.erased_at IS NULL) <> (r.erased_at IS NULL)""",
    ),
    (
        "erased-customer",
        "nothing in a removed customer's row tells who it was, and no sale names him",
        """SELECT c.account_id, format('customer %s', c.id) AS what FROM integrations_customer c
           WHERE c.erased_at IS NOT NULL AND (
               c.external_id NOT LIKE 'erased:%' OR c.birth_date IS NOT NULL
               OR concat(c.first_name, c.last_name, c.phone, c.phone_raw, c.email, c.email_raw, c.street, c.city,
                         c.postal_code, c.government_id, c.medical_id, c.merged_into) <> '')
           UNION ALL
           SELECT l.account_id, format('line %s of sale %s', l.number, s.id)
           FROM integrations_sale s JOIN integrations_saleline l ON l.sale_id = s.id
           WHERE s.customer_id LIKE 'erased:%' AND concat(l.name, l.sku, l.product_id, l.brand, l.category) <> ''""",
    ),
)
