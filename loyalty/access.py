"""Everything that is held about one person, as one JSON file: what a shopper may ask for.

Of one moment, and written piece by piece, so that a long history needs no memory. Members of staff are not named in it:
they are other people. The group is one person: its root and every row merged into it.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import orjson
from django.db import connection

from aiqsync.accounts.models import Account
from integrations import suppression

from . import audits, earning, erasure

FORMAT = 1
SIZE = 500  # rows fetched at a time

Row = dict[str, Any]
_STORE = "(SELECT name FROM stores_store st WHERE st.id = {}) AS store"
# In the file's order. Each row becomes an object; `rows` are the group's personas.
_SECTIONS: dict[str, str] = {
    "identity": """SELECT p.contact_id, p.first_name, p.last_name, p.phone, p.phone_raw, p.email, p.birth_date,
            p.address, p.customer_type, p.member_from, r.contact_id AS merged_into, f.name AS favourite_store,
            u.name AS usual_store, p.created_at, p.last_seen_at, p.archived_at, p.is_test, w.balance
        FROM loyalty_persona p LEFT JOIN loyalty_persona r ON r.id = p.merged_into_id
        LEFT JOIN stores_store f ON f.id = coalesce(p.favourite_store_id, p.usual_store_id)
        LEFT JOIN stores_store u ON u.id = p.usual_store_id
        LEFT JOIN loyalty_wallet w ON w.persona_id = p.id
        WHERE p.id = ANY(%(rows)s) ORDER BY p.merged_into_id IS NOT NULL, p.id""",
    "known_by": """SELECT kind, value, shared, created_at FROM loyalty_identifier
        WHERE persona_id = ANY(%(rows)s) ORDER BY id""",
    "sources": """SELECT o.platform, o.title AS company, c.external_id AS record, c.first_name, c.last_name, c.phone,
            c.phone_raw, c.email, c.email_raw, c.birth_date, c.street, c.city, c.state, c.postal_code, c.country,
            c.pricing_group, c.customer_type, c.do_not_contact, c.disabled, c.merged_into, c.government_id <> '' AS
            has_government_id, c.medical_id <> '' AS has_medical_id, c.modified_at, s.matched_by, s.matched_value,
            s.linked_at
        FROM loyalty_source s JOIN integrations_customer c ON c.id = s.customer_id
        JOIN integrations_origin o ON o.id = c.origin_id WHERE s.persona_id = ANY(%(rows)s) ORDER BY s.id""",
    "aliases": """SELECT alias, points AS points_there, member_since, at FROM loyalty_contactalias
        WHERE persona_id = ANY(%(rows)s) ORDER BY id""",
    "records_named": """SELECT platform, external_id AS record, at FROM loyalty_sourcehint
        WHERE persona_id = ANY(%(rows)s) ORDER BY id""",
    "set_by_hand": """SELECT field, value, at FROM loyalty_override WHERE persona_id = ANY(%(rows)s) ORDER BY id""",
    "attributes": """SELECT parent, key, value, at FROM loyalty_attribute
        WHERE persona_id = ANY(%(rows)s) ORDER BY id""",
    "check_ins": f"""SELECT {_STORE.format("i.store_id")}, i.first_name, i.initial, i.reason, i."order", i.state, i.at
        FROM loyalty_checkin i WHERE i.persona_id = ANY(%(rows)s) ORDER BY i.id""",
    "sales": """SELECT s.kind, s.number, s.receipt, s.sold_at, l.name AS place, s.fulfilment, s.currency, s.lines_cents,
            s.discount_cents, s.tax_cents, s.total_cents, s.net_cents, s.payments, s.discounts,
            (SELECT json_agg(json_build_object('name', n.name, 'sku', n.sku, 'brand', n.brand, 'category', n.category,
                                               'quantity', n.quantity, 'unit', n.unit, 'total_cents', n.total_cents)
                             ORDER BY n.number)
             FROM integrations_saleline n WHERE n.sale_id = s.id) AS lines,
            st.posted AS points, st.explanation
        FROM loyalty_salestate st JOIN integrations_sale s ON s.id = st.sale_id
        LEFT JOIN integrations_location l ON l.id = s.location_id
        WHERE st.persona_id = ANY(%(rows)s) ORDER BY s.sold_at, s.id""",
    "entries": """SELECT e.id AS entry, p.contact_id, e.at, e.kind, e.points, e.balance_after, e.note, e.cause_at,
            s.number AS sale, r.public_id AS redemption, d.name AS discount, e.explanation, e.key
        FROM loyalty_entry e JOIN loyalty_persona p ON p.id = e.persona_id
        LEFT JOIN integrations_sale s ON s.id = e.sale_id LEFT JOIN loyalty_redemption r ON r.id = e.redemption_id
        LEFT JOIN loyalty_discount d ON d.id = r.discount_id WHERE e.persona_id = ANY(%(rows)s) ORDER BY e.id""",
    "lots": """SELECT l.id AS lot, p.contact_id, l.entry_id AS entry, l.kind, l.points, l.remaining, l.expires_at,
            l.created_at, l.from_lot_id AS from_lot
        FROM loyalty_lot l JOIN loyalty_persona p ON p.id = l.persona_id WHERE l.persona_id = ANY(%(rows)s)
        ORDER BY l.id""",
    "redemptions": f"""SELECT r.public_id AS redemption, d.name AS discount, r.transaction, r.channel, r.state,
            r.points, r.reverted_points, {_STORE.format("r.store_id")}, s.number AS sale, r.applied_at, r.settled_at,
            r.ended_at, r.why_ended, (SELECT code FROM loyalty_couponcode c WHERE c.redemption_id = r.id) AS code
        FROM loyalty_redemption r JOIN loyalty_discount d ON d.id = r.discount_id
        LEFT JOIN integrations_sale s ON s.id = r.sale_id WHERE r.persona_id = ANY(%(rows)s) ORDER BY r.id""",
    "boosts": """SELECT m.name, b.posted AS points, b.at FROM loyalty_booststate b
        JOIN loyalty_modifier m ON m.id = b.modifier_id WHERE b.persona_id = ANY(%(rows)s) ORDER BY b.id""",
    "pos_points": """SELECT o.platform, m.posted AS points, m.at FROM loyalty_mirrorstate m
        JOIN integrations_customer c ON c.id = m.customer_id JOIN integrations_origin o ON o.id = c.origin_id
        WHERE m.persona_id = ANY(%(rows)s) ORDER BY m.id""",
    "points_waiting": """SELECT o.platform, b.points FROM loyalty_waitingbalance b
        JOIN loyalty_source s ON s.customer_id = b.customer_id JOIN integrations_origin o ON o.id = b.origin_id
        WHERE s.persona_id = ANY(%(rows)s) ORDER BY b.id""",
    "still_owed": """SELECT points, netted, collected, state, note, at, closed_at FROM loyalty_shortfall
        WHERE persona_id = ANY(%(rows)s) ORDER BY id""",
    "memberships": f"""SELECT ground, from_date, note, {_STORE.format("e.store_id")}, at FROM loyalty_enrolment e
        WHERE persona_id = ANY(%(rows)s) ORDER BY id""",
    "audiences": """SELECT a.name, m.joined_at, m.left_at, m.by_hand FROM loyalty_audiencemember m
        JOIN loyalty_audience a ON a.id = m.audience_id WHERE m.persona_id = ANY(%(rows)s) ORDER BY m.id""",
    "consent": """SELECT s.channel, s.address, s.state, s.since FROM loyalty_consentstate s
        JOIN unnest(%(kinds)s::text[], %(values)s::text[]) k (kind, value) ON k.value = s.address
             AND s.channel = CASE k.kind WHEN 'phone' THEN 'sms' ELSE 'email' END
        WHERE s.account_id = %(account)s ORDER BY s.id""",
    "consent_journal": f"""SELECT l.channel, l.address, l.act, l.source, l.wording, {_STORE.format("l.store_id")}, l.at,
            l.noted_at FROM loyalty_consentline l WHERE l.persona_id = ANY(%(rows)s) ORDER BY l.id""",
    "messages": """SELECT channel, address, purpose, subject, body, state, created_at, sent_at FROM loyalty_message
        WHERE persona_id = ANY(%(rows)s) ORDER BY id""",
    "codes": """SELECT channel, created_at, expires_at, used_at FROM loyalty_pin
        WHERE persona_id = ANY(%(rows)s) ORDER BY id""",
    "merges": """SELECT w.contact_id AS into, l.contact_id AS record, m.why, m.value, m.survivor_balance,
            m.loser_balance, m.at, m.split_at, m.split_points
        FROM loyalty_merge m JOIN loyalty_persona w ON w.id = m.survivor_id JOIN loyalty_persona l ON l.id = m.loser_id
        WHERE m.survivor_id = ANY(%(rows)s) OR m.loser_id = ANY(%(rows)s) ORDER BY m.id""",
    "record_moves": """SELECT f.contact_id AS "from", t.contact_id AS "to", m.why, m.value, m.at
        FROM loyalty_sourcemove m JOIN loyalty_persona f ON f.id = m.from_persona_id
        JOIN loyalty_persona t ON t.id = m.to_persona_id
        WHERE m.from_persona_id = ANY(%(rows)s) OR m.to_persona_id = ANY(%(rows)s) ORDER BY m.id""",
    "receipts_attached": """SELECT s.number, a.note, a.at FROM loyalty_attachment a
        JOIN integrations_sale s ON s.id = a.sale_id WHERE a.persona_id = ANY(%(rows)s) ORDER BY a.id""",
    "investigations": """SELECT note, at, closed_at, outcome FROM loyalty_investigation
        WHERE persona_id = ANY(%(rows)s) ORDER BY id""",
    "cases_looked_at": """SELECT v.kind, v.outcome, v.note, v.at FROM loyalty_review v
        WHERE v.redemption_id IN (SELECT id FROM loyalty_redemption WHERE persona_id = ANY(%(rows)s))
           OR v.sale_id IN (SELECT sale_id FROM loyalty_salestate WHERE persona_id = ANY(%(rows)s)) ORDER BY v.id""",
    "on_lists": """SELECT 'employee points blocklist' AS list, phone, note, created_at AS at FROM loyalty_blockedphone
        WHERE account_id = %(account)s AND phone = ANY(%(phones)s)
        UNION ALL SELECT 'numbers to decide: ' || decision, phone, '', found_at FROM loyalty_suspectnumber
        WHERE account_id = %(account)s AND phone = ANY(%(phones)s)""",
    "activity": """SELECT at, act, target, detail FROM accounts_auditline
        WHERE account_id = %(account)s AND detail ->> 'contact_id' = ANY(%(contacts)s) ORDER BY id""",
}


def pieces(*, account_id: int, persona_id: int, now: datetime) -> Iterator[str]:
    """The file's text, piece by piece. Raises erasure.CannotErase when there is no such person."""
    with audits.one_moment(), connection.cursor() as cursor:
        account = Account.objects.get(pk=account_id)
        rows, known, shared = erasure.whole(cursor, account_id=account_id, persona_id=persona_id)
        cursor.execute("SELECT contact_id::text FROM loyalty_persona WHERE id = ANY(%s)", [rows])
        asked = {
            "account": account_id,
            "rows": rows,
            "contacts": [row[0] for row in cursor.fetchall()],
            "kinds": [kind for kind, _ in sorted(known)],
            "values": [value for _, value in sorted(known)],
            "phones": [value for kind, value in sorted(known) if kind == "phone"],
        }
        about = {
            "format": FORMAT, "merchant": account.name, "account": account.uid, "exported_at": now,
            "currency": account.currency, "timezone": account.timezone,
        }  # fmt: skip
        yield '{"about": ' + _json(about)
        for name, sql in _SECTIONS.items():
            yield f',\n"{name}": ['
            yield from _listed(_rows(sql, asked), _TOLD.get(name))
            yield "]"
        cursor.execute(
            """SELECT c.origin_id, c.external_id FROM loyalty_source s
               JOIN integrations_customer c ON c.id = s.customer_id WHERE s.persona_id = ANY(%s)""",
            [rows],
        )
        # Only what is surely about this person: a family's phone, or a name, may be another's.
        kept = suppression.told_of(
            account_id=account_id, sources=cursor.fetchall(), known=known - shared, names=(), region=account.country
        )
        yield ',\n"rows_of_the_pos_not_taken_over": ['
        yield from _listed(
            ({"stream": one.stream, "reason": one.reason, "row": one.row, "at": one.last_at} for one in kept), None
        )
        yield "]}\n"


def sections() -> list[str]:
    """The names of the file's parts, in their order."""
    return ["about", *_SECTIONS, "rows_of_the_pos_not_taken_over"]


def _rows(sql: str, asked: dict[str, Any]) -> Iterator[Row]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(f"SELECT row_to_json(x)::text FROM ({sql}) x", asked)
        while found := cursor.fetchmany(SIZE):
            for (text,) in found:
                yield orjson.loads(text)


def _listed(rows: Iterator[Row], told: Callable[[Row], Row] | None) -> Iterator[str]:
    first = True
    for row in rows:
        yield ("\n " if first else ",\n ") + _json(told(row) if told else row)
        first = False


def _in_words(row: Row) -> Row:
    """With the reason as staff read it aloud."""
    return row | {"because": earning.sentence(row["explanation"] or {})}


_TOLD: dict[str, Callable[[Row], Row]] = {"sales": _in_words, "entries": _in_words}


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()
