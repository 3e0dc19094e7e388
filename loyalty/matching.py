"""Whose record is this? Landed customers become personas at arrival, a page at a time.

Identity is the phone, then the e-mail (docs/decisions/identity.md); POS ids are sources. Identifiers are rows, and
the database's unique constraint decides who was first: whoever loses the race starts the page again.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.db import connection

from aiqsync.accounts.statistics import loaded
from integrations.services import is_placeholder


class IdentityRace(Exception):
    """Somebody else took an identifier while this page was decided: land the page again."""


@dataclass(slots=True)
class _Customer:
    pk: int
    phone: str
    email: str
    first_name: str
    last_name: str
    birth_date: date | None
    persona: int | None = None
    matched_by: str = ""
    new: bool = False


def match(*, account_id: int, customer_ids: Sequence[int], now: datetime) -> set[int]:
    """Give each customer its persona. Returns the personas concerned. Eight statements a page, whatever its size."""
    if not customer_ids:
        return set()
    with connection.cursor() as cursor:
        customers = _load(cursor, account_id, customer_ids)
        owners = _owners(cursor, account_id, customers)
        _follow_vendor_merges(cursor, customers)
        found = _decide(cursor, customers, owners)
        _write_personas(cursor, account_id, [c for c in customers if c.new], now)
        _write_identifiers(cursor, account_id, found, owners, now)
        _write_sources(cursor, account_id, customers, now)
        loaded(
            cursor,
            sum(c.new for c in customers),
            "loyalty_persona",
            "loyalty_identifier",
            "loyalty_source",
            "loyalty_wallet",
        )
        _refresh(cursor, account_id, [c.pk for c in customers if not c.new])
    return {c.persona for c in customers if c.persona is not None}


def _load(cursor, account_id: int, ids: Sequence[int]) -> list[_Customer]:
    cursor.execute(
        """SELECT c.id, c.phone, c.email, c.first_name, c.last_name, c.birth_date,
                  coalesce(p.merged_into_id, s.persona_id)
           FROM integrations_customer c
           LEFT JOIN loyalty_source s ON s.customer_id = c.id
           LEFT JOIN loyalty_persona p ON p.id = s.persona_id
           WHERE c.account_id = %s AND c.id = ANY(%s) ORDER BY c.id""",
        [account_id, list(ids)],
    )
    rows = [_Customer(*row, matched_by="known" if row[6] else "") for row in cursor.fetchall()]
    for customer in rows:
        if customer.phone and is_placeholder(customer.phone):
            customer.phone = ""  # a number of one repeated digit identifies nobody
    return rows


def _owners(cursor, account_id: int, customers: Iterable[_Customer]) -> dict[tuple[str, str], int | None]:
    """Who holds each identifier: a persona, or None for a shared one."""
    wanted = sorted({v for c in customers for v in (("phone", c.phone), ("email", c.email)) if v[1]})
    if not wanted:
        return {}
    cursor.execute(
        """SELECT i.kind, i.value, CASE WHEN i.shared THEN NULL ELSE coalesce(p.merged_into_id, p.id) END
           FROM unnest(%s::text[], %s::text[]) w(kind, value)
           JOIN loyalty_identifier i ON i.account_id = %s AND i.kind = w.kind AND i.value = w.value
           JOIN loyalty_persona p ON p.id = i.persona_id""",
        [[w[0] for w in wanted], [w[1] for w in wanted], account_id],
    )
    owners: dict[tuple[str, str], int | None] = {}
    for kind, value, persona in cursor.fetchall():
        # Shared anywhere is shared: a phone of a family identifies none of them.
        owners[kind, value] = None if (kind, value) in owners else persona
    return owners


def _follow_vendor_merges(cursor, customers: Sequence[_Customer]) -> None:
    """A customer that the POS merged into another, and that is new to us, belongs to the other's persona."""
    fresh = [c for c in customers if c.persona is None]
    if not fresh:
        return
    cursor.execute(
        """SELECT c.id, coalesce(p.merged_into_id, p.id) FROM integrations_customer c
           JOIN integrations_customer into_ ON into_.origin_id = c.origin_id AND into_.external_id = c.merged_into
           JOIN loyalty_source s ON s.customer_id = into_.id JOIN loyalty_persona p ON p.id = s.persona_id
           WHERE c.id = ANY(%s) AND c.merged_into <> ''""",
        [[c.pk for c in fresh]],
    )
    heirs = dict(cursor.fetchall())
    for customer in fresh:
        if customer.pk in heirs:
            customer.persona, customer.matched_by = heirs[customer.pk], "merged_in_pos"


def _decide(
    cursor, customers: Sequence[_Customer], owners: dict[tuple[str, str], int | None]
) -> list[tuple[int, str, str]]:
    """Fill in each customer's persona; returns the identifiers to write: (persona, kind, value)."""
    # Which phones the personas found by e-mail already have: two different phones never meet through an e-mail.
    by_email = sorted({p for c in customers if c.email and (p := owners.get(("email", c.email)))})
    cursor.execute(
        "SELECT persona_id, value FROM loyalty_identifier WHERE kind = 'phone' AND persona_id = ANY(%s)", [by_email]
    )
    phones: dict[int, set[str]] = {}
    for persona, value in cursor.fetchall():
        phones.setdefault(persona, set()).add(value)
    missing = sum(1 for c in customers if c.persona is None)
    cursor.execute(
        "SELECT nextval(pg_get_serial_sequence('loyalty_persona', 'id')) FROM generate_series(1, %s)", [missing]
    )
    free = iter([row[0] for row in cursor.fetchall()])
    found: list[tuple[int, str, str]] = []
    for c in customers:
        if c.persona is None and c.phone and (persona := owners.get(("phone", c.phone))):
            c.persona, c.matched_by = persona, "phone"
        if c.persona is None and c.email and (persona := owners.get(("email", c.email))):
            theirs = phones.get(persona)
            if not c.phone or not theirs or c.phone in theirs:
                c.persona, c.matched_by = persona, "email"
        if c.persona is None:
            c.persona, c.matched_by, c.new = next(free), "new", True
        for kind, value in (("phone", c.phone), ("email", c.email)):
            if value and (kind, value) not in owners:
                owners[kind, value] = c.persona
                found.append((c.persona, kind, value))
                if kind == "phone":
                    phones.setdefault(c.persona, set()).add(value)
    return found


def _write_personas(cursor, account_id: int, customers: Sequence[_Customer], now: datetime) -> None:
    if not customers:
        return
    with cursor.copy(
        "COPY loyalty_persona (id, account_id, contact_id, first_name, last_name, phone, email, birth_date, created_at)"
        " FROM STDIN"
    ) as out:
        for c in customers:
            out.write_row(
                (c.persona, account_id, uuid.uuid4(), c.first_name, c.last_name, c.phone, c.email, c.birth_date, now)
            )
    with cursor.copy("COPY loyalty_wallet (persona_id, account_id, balance) FROM STDIN") as out:
        for c in customers:
            out.write_row((c.persona, account_id, 0))


def _write_identifiers(cursor, account_id: int, found: list[tuple[int, str, str]], owners, now: datetime) -> None:
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
        """INSERT INTO loyalty_source (account_id, persona_id, customer_id, matched_by, linked_at)
           SELECT %s, w.persona, w.customer, w.why, %s
           FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) w(persona, customer, why)
           ORDER BY w.customer ON CONFLICT (customer_id) DO NOTHING""",
        [account_id, now, [c.persona for c in fresh], [c.pk for c in fresh], [c.matched_by for c in fresh]],
    )
    if cursor.rowcount != len(fresh):
        raise IdentityRace


def _refresh(cursor, account_id: int, customer_ids: Sequence[int]) -> None:
    """The POS is the source of truth for contact data: a persona shows its latest edited customer.

    A field that is empty there keeps what we have: an invalid phone never replaces a good one.
    """
    if not customer_ids:
        return
    cursor.execute(
        """UPDATE loyalty_persona t SET first_name = f.first_name, last_name = f.last_name, phone = f.phone,
                  email = f.email, birth_date = f.birth_date
           FROM (
               SELECT DISTINCT ON (p.id) p.id, coalesce(nullif(c.first_name, ''), p.first_name) AS first_name,
                      coalesce(nullif(c.last_name, ''), p.last_name) AS last_name,
                      coalesce(nullif(c.phone, ''), p.phone) AS phone,
                      coalesce(nullif(c.email, ''), p.email) AS email,
                      coalesce(c.birth_date, p.birth_date) AS birth_date
               FROM loyalty_source touched
               JOIN loyalty_persona p ON p.id = touched.persona_id
               JOIN loyalty_source s ON s.persona_id = p.id
               JOIN integrations_customer c ON c.id = s.customer_id AND c.merged_into = ''
               WHERE touched.account_id = %s AND touched.customer_id = ANY(%s)
               ORDER BY p.id, c.modified_at DESC NULLS LAST, c.id DESC
           ) f
           WHERE t.id = f.id AND (t.first_name, t.last_name, t.phone, t.email, t.birth_date)
                 IS DISTINCT FROM (f.first_name, f.last_name, f.phone, f.email, f.birth_date)""",
        [account_id, list(customer_ids)],
    )
