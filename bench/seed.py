"""A shop with years behind it, made set-based by the rules of the ledger, so that `check_ledger` finds nothing.

Every id is the number of the event it came of, in the order of time over all shoppers: rows of one shopper lie
scattered over the tables as they do in real life. References are not checked row by row while seeding (`check_ledger`
does that afterwards, all at once), so it needs a superuser of the bench's own server.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg

EXPIRE_DAYS = 1100  # nothing is due when the seed is done


@dataclass(frozen=True)
class House:
    """What stands before the first shopper: ids of the account and of what its rows refer to."""

    account: int
    origin: int
    locations: list[int]
    stores: list[int]
    discounts: list[int]  # those that shoppers redeem, 100 points each
    coded: int  # the one of them with a code for each use
    audience: int
    boost: int
    staff: list[int]


# Shoppers. `h` is a number that looks random and is the same in every run. Two of each fifty were merged into the next.
_PEOPLE = """
CREATE UNLOGGED TABLE seed_person AS
SELECT p AS id, p %% 10 <> 3 AS member, p %% 1000 = 502 AS long,
       CASE WHEN NOT %(events)s THEN 0 WHEN p %% 1000 = 502 THEN 500 ELSE 6 + (h %% 11)::int END AS visits,
       CASE WHEN p %% 1000 = 502 THEN interval '36 hours' ELSE (5 + h %% 25) * interval '1 day' END AS step,
       CASE WHEN p %% 1000 = 502 THEN interval '3 hours' + h %% 20 * interval '1 day'
            WHEN p %% 50 IN (7, 8, 9) THEN (30 + h %% 300) * interval '1 day'
            ELSE interval '3 hours' + h %% (86400 * 400) * interval '1 second' END AS ago,
       CASE WHEN p %% 50 IN (7, 8) AND p - p %% 50 + 9 <= %(people)s THEN p - p %% 50 + 9 END AS into_id,
       p %% 20 <> 0 AS has_phone, p %% 5 < 3 AS has_email, p %% 100 <> 99 AS from_pos,
       '+1' || CASE WHEN p %% 2 = 0 THEN '604' ELSE '778' END || (2000000 + p * 7) AS phone,
       'shopper' || CASE WHEN p %% 1000 = 1 THEN p + 1 ELSE p END || '@example.com' AS email,
       (ARRAY['Ada','Ben','Cleo','Dana','Eli','Finn','Gus','Hana','Ida','Jonas','Kai','Lena','Milo','Nora','Otis','Pia',
              'Quinn','Rosa','Sam','Tess','Uma','Vera','Will','Xenia','Yara','Zoë'])[1 + h %% 26] AS first_name,
       initcap((ARRAY['ash','birch','cedar','dale','elm','fern','grove','hart','ivy','juniper','king','lake','moss',
              'north','oak','pine','quill','reed','stone','thorn'])[1 + h / 26 %% 20]
              || (ARRAY['','son','man','wood','field','er','by','ley'])[1 + h / 520 %% 8]) AS last_name,
       CASE WHEN p %% 10 < 7 THEN date '1950-01-01' + (h / 7 %% 19000)::int END AS birth_date, h
FROM (SELECT p, (p * 2654435761 + 12345) %% 4294967291 AS h FROM generate_series(1, %(people)s) p) x
"""
# What happened to each: of ten things six purchases, two redemptions of which the second is given back, a gift. What
# comes in and what is spent for good are lines of numbers, so that a redemption's lots are those its stretch lies on.
_EVENTS = """
CREATE UNLOGGED TABLE seed_event AS
WITH told AS (
    SELECT p.id AS person, e, p.visits, p.member,
           %(now)s::timestamptz - p.ago - (p.visits - e) * p.step - (e * 37 %% 60) * interval '1 second' AS at,
           CASE WHEN NOT p.member THEN 'visit' WHEN e %% 10 IN (1, 2, 3, 5, 6, 9) THEN 'earn'
                WHEN e %% 10 IN (4, 7) THEN 'redeem' WHEN e %% 10 = 8 THEN 'reverse'
                WHEN e = 10 AND p.id %% 3 = 0 THEN 'boost' ELSE 'adjust' END AS kind,
           40 + (p.h + e * 31) %% 60 AS worth
    FROM seed_person p CROSS JOIN LATERAL generate_series(1, p.visits) e
), valued AS (
    SELECT *, CASE kind WHEN 'earn' THEN worth WHEN 'visit' THEN 0 WHEN 'redeem' THEN -100 WHEN 'reverse' THEN 100
              ELSE 40 END AS points,
           kind = 'redeem' AND e %% 10 = 7 AND e < visits AS undone
    FROM told
)
SELECT row_number() OVER (ORDER BY at, person, e) AS id, person, e, at, kind, worth, points, undone,
       e = visits AS latest,
       sum(points) OVER line AS balance,
       sum(CASE WHEN kind IN ('earn', 'adjust', 'boost') THEN points ELSE 0 END) OVER line
         - CASE WHEN kind IN ('earn', 'adjust', 'boost') THEN points ELSE 0 END AS came,
       -sum(CASE WHEN kind = 'redeem' AND NOT undone THEN points ELSE 0 END) OVER line
         - CASE WHEN kind = 'redeem' AND NOT undone THEN 100 ELSE 0 END AS went
FROM valued WINDOW line AS (PARTITION BY person ORDER BY e)
"""
_LINKED = """
CREATE UNLOGGED TABLE seed_redemption AS
SELECT *, row_number() OVER (PARTITION BY person, discount ORDER BY id) - 1 AS n,
       CASE WHEN undone THEN CASE WHEN person %% 20 = 0 THEN 'released' ELSE 'reverted' END
            WHEN latest AND at > %(now)s::timestamptz - interval '1 day' THEN 'applied' ELSE 'settled' END AS state
FROM (SELECT id, person, at, undone, latest, went, %(discounts)s::bigint[] AS all_discounts,
             (%(discounts)s::bigint[])[1 + (person + e) %% cardinality(%(discounts)s::bigint[])] AS discount,
             lead(id) OVER line AS next_id, lead(at) OVER line AS next_at
      FROM seed_event WINDOW line AS (PARTITION BY person ORDER BY e)) x
WHERE id IN (SELECT id FROM seed_event WHERE kind = 'redeem')
"""
_STAFF = "(%(staff)s::bigint[])[1 + {0}.id / 9 %% cardinality(%(staff)s::bigint[])]"
_WELCOME = '\'{"why": "boost", "name": "Welcome"}\'::jsonb'
_EARNED = "jsonb_build_object('why', 'earned', 'base', e.worth * 100, 'rate', '1E+2')"


class Seed:
    """One database: `people` shoppers, and with `events` about ten entries for each."""

    def __init__(
        self, admin: psycopg.Connection, house: House, people: int, now: datetime, *, events: bool = True
    ) -> None:
        self.db, self.house, self.events = admin, house, events
        self.values = {
            "people": people, "now": now, "events": events, "account": house.account, "origin": house.origin,
            "discounts": house.discounts, "locations": house.locations, "stores": house.stores, "staff": house.staff,
            "coded": house.coded, "audience": house.audience, "boost": house.boost,
            "days": timedelta(days=EXPIRE_DAYS + 1),
        }  # fmt: skip

    def run(self) -> None:
        self.do("SET session_replication_role = replica; SET synchronous_commit = off; SET work_mem = '256MB'")
        self.do(_PEOPLE)
        self.do("ALTER TABLE seed_person ADD PRIMARY KEY (id)")
        self.do(_EVENTS)
        self.do("ALTER TABLE seed_event ADD PRIMARY KEY (id)")
        self.do("CREATE INDEX ON seed_event (person)")
        self.do(_LINKED)
        self.do("CREATE INDEX ON seed_redemption (next_id); CREATE INDEX ON seed_redemption (id); ANALYZE")
        self.shoppers()
        self.sales()
        self.ledger()
        self.around()
        self.count_on()
        self.do("RESET session_replication_role; RESET work_mem")
        self.merges()
        self.do("DROP TABLE seed_person, seed_event, seed_redemption")
        self.do("VACUUM (ANALYZE)")

    def do(self, sql: str) -> None:
        self.db.execute(sql, self.values if "%" in sql else None)

    def insert(self, table: str, columns: dict[str, str], source: str) -> None:
        """Insert what `columns` say (column: expression); what a row must have beside that is empty, 0 or false."""
        empty = {
            "boolean": "false",
            "jsonb": "'{}'",
            "uuid": "gen_random_uuid()",
            "timestamp with time zone": "%(now)s",
        }
        must = self.db.execute(
            """SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s
               AND is_nullable = 'NO' AND is_identity = 'NO' AND is_generated = 'NEVER' AND column_default IS NULL""",
            [table],
        ).fetchall()
        all_columns = {"account_id": "%(account)s"} | columns
        for name, kind in must:
            all_columns.setdefault(
                name, empty.get(kind, "''" if kind.startswith("character") or kind == "text" else "0")
            )
        self.do(f"INSERT INTO {table} ({', '.join(all_columns)}) SELECT {', '.join(all_columns.values())} {source}")

    def shoppers(self) -> None:
        people = "FROM seed_person p ORDER BY p.id"
        self.insert("loyalty_persona", {
            "id": "p.id", "first_name": "p.first_name", "last_name": "p.last_name", "birth_date": "p.birth_date",
            "phone": "CASE WHEN p.has_phone THEN p.phone ELSE '' END",
            "email": "CASE WHEN p.has_email THEN p.email ELSE '' END",
            "member_from": "CASE WHEN p.member THEN (%(now)s::timestamptz - p.ago - p.visits * p.step)::date - 3 END",
            "created_at": "%(now)s::timestamptz - p.ago - p.visits * p.step - interval '3 days'",
            "archived_at": "CASE WHEN p.id %% 500 = 13 THEN %(now)s::timestamptz END",
            "last_seen_at": "s.seen" if self.events else
            "CASE WHEN p.id %% 7 <> 0 THEN %(now)s::timestamptz - p.ago END",
        }, "FROM seed_person p LEFT JOIN (SELECT person, max(at) AS seen FROM seed_event"
           " WHERE kind IN ('earn', 'visit') GROUP BY person) s ON s.person = p.id ORDER BY p.id")  # fmt: skip
        self.insert("loyalty_wallet", {
            "persona_id": "p.id", "balance": "coalesce(b.balance, 0)" if self.events else "p.h %% 97 * p.h %% 61",
        }, "FROM seed_person p LEFT JOIN (SELECT person, sum(points) AS balance FROM seed_event GROUP BY person) b"
           " ON b.person = p.id ORDER BY p.id")  # fmt: skip
        for kind, own in (("phone", "p.has_phone"), ("email", "p.has_email AND p.id %% 1000 <> 1")):
            self.insert(
                "loyalty_identifier", {"persona_id": "p.id", "kind": f"'{kind}'", "value": f"p.{kind}"},
                f"FROM seed_person p WHERE {own} ORDER BY p.id",
            )  # fmt: skip
        self.insert("integrations_customer", {
            "id": "p.id", "origin_id": "%(origin)s", "external_id": "'c' || p.id", "first_name": "p.first_name",
            "last_name": "p.last_name", "phone": "CASE WHEN p.has_phone THEN p.phone ELSE '' END",
            "phone_raw": "CASE WHEN p.has_phone THEN p.phone WHEN p.id %% 40 = 0 THEN 'none' ELSE '' END",
            "email": "CASE WHEN p.has_email THEN p.email ELSE '' END", "birth_date": "p.birth_date",
            "pricing_group": "'Regular'",
        }, people.replace("ORDER", "WHERE p.from_pos ORDER"))  # fmt: skip
        self.insert("loyalty_source", {
            "id": "p.id", "persona_id": "p.id", "customer_id": "p.id", "matched_by": "'new'",
        }, people.replace("ORDER", "WHERE p.from_pos ORDER"))  # fmt: skip
        self.insert("loyalty_enrolment", {
            "persona_id": "p.id", "ground": "'bought'",
            "from_date": "(%(now)s::timestamptz - p.ago - p.visits * p.step)::date - 3",
            "at": "%(now)s::timestamptz - p.ago - p.visits * p.step - interval '3 days'",
        }, people.replace("ORDER", "WHERE p.member ORDER"))  # fmt: skip

    def sales(self) -> None:
        place = "(%(locations)s::bigint[])[1 + e.person %% cardinality(%(locations)s::bigint[])]"
        self.insert("integrations_sale", {
            "id": "e.id", "origin_id": "%(origin)s", "external_id": "'x' || e.id", "kind": "'sale'",
            "number": "'MAI-' || e.id", "receipt": "'R' || e.id", "location_id": place,
            "customer_id": "CASE WHEN p.from_pos THEN 'c' || e.person ELSE '' END", "sold_at": "e.at",
            "fulfilment": "'in_store'", "employee_name": "'Till ' || e.id %% 9",
            "lines_cents": "e.worth * 100 + d.cents", "discount_cents": "d.cents",
            "net_cents": "e.worth * 100", "tax_cents": "e.worth * 12",
            "total_cents": "e.worth * 112", "payments": "'Cash'", "has_details": "true", "currency": "'CAD'",
            "line_count": "1 + e.id %% 2", "changed_at": "e.at",
            "discounts": "CASE WHEN r.id IS NULL THEN '[]' ELSE jsonb_build_array(jsonb_build_object('name',"
            " (SELECT name FROM loyalty_discount WHERE id = r.discount), 'cents', 500)) END",
        }, """FROM seed_event e JOIN seed_person p ON p.id = e.person
              LEFT JOIN seed_redemption r ON r.next_id = e.id AND r.state = 'settled'
              CROSS JOIN LATERAL (SELECT CASE WHEN r.id IS NULL THEN 0 ELSE 500 END AS cents) d
              WHERE e.kind IN ('earn', 'visit') ORDER BY e.id""")  # fmt: skip
        self.insert("integrations_saleline", {
            "sale_id": "e.id", "number": "n", "product_id": "'p' || e.id %% 900", "sku": "'SKU-' || e.id %% 900",
            "name": "'Product ' || e.id %% 900", "quantity": "1", "list_price": "e.worth", "unit_price": "e.worth",
            "category": "CASE WHEN e.id %% 50 = 0 THEN '' ELSE 'Category ' || e.id %% 12 END",
            "brand": "'Brand ' || e.id %% 70", "total_cents": "e.worth * 100 / (1 + e.id %% 2)",
            "cost_cents": "CASE WHEN e.id %% 5 > 0 THEN e.worth * 55 / (1 + e.id %% 2) END",
        }, """FROM seed_event e CROSS JOIN LATERAL generate_series(1, 1 + e.id %% 2) n
              WHERE e.kind IN ('earn', 'visit') ORDER BY e.id, n""")  # fmt: skip
        self.insert("loyalty_salestate", {
            "sale_id": "e.id", "persona_id": "e.person", "base_cents": "e.points * 100", "posted": "e.points",
            "posts": "(e.kind = 'earn')::int", "settled_at": "e.at",
            "explanation": "CASE WHEN e.kind = 'visit' THEN '{\"why\": \"not_a_member\"}'::jsonb"
            " ELSE " + _EARNED + " END",
        }, "FROM seed_event e WHERE e.kind IN ('earn', 'visit') ORDER BY e.id")  # fmt: skip
        self.insert("loyalty_attachment", {
            "sale_id": "e.id", "persona_id": "e.person", "note": "'Forgot the card'",
        }, """FROM seed_event e JOIN seed_person p ON p.id = e.person AND NOT p.from_pos
              WHERE e.kind IN ('earn', 'visit') ORDER BY e.id""")  # fmt: skip
        # One in a hundred came back in whole, days later; one in twenty has no customer.
        returned = "WHERE e.kind = 'earn' AND e.id %% 100 = 0 AND e.at < %(now)s::timestamptz - interval '5 days'"
        top = "(SELECT max(id) FROM seed_event)"
        self.insert("integrations_sale", {
            "id": f"{top} + row_number() OVER (ORDER BY e.id)", "origin_id": "%(origin)s", "external_id": "'f' || e.id",
            "kind": "'refund'", "number": "'MAI-F' || e.id", "original_id": "'x' || e.id", "location_id": place,
            "customer_id": "'c' || e.person", "sold_at": "e.at + interval '3 days'", "has_details": "true",
            "lines_cents": "-e.worth * 100", "net_cents": "-e.worth * 100", "tax_cents": "-e.worth * 12",
            "total_cents": "-e.worth * 112", "payments": "'Cash'", "currency": "'CAD'", "discounts": "'[]'",
        }, f"FROM seed_event e {returned}")  # fmt: skip
        self.insert("integrations_sale", {
            "id": "(SELECT max(id) FROM integrations_sale) + row_number() OVER (ORDER BY e.id)",
            "origin_id": "%(origin)s", "external_id": "'a' || e.id", "kind": "'sale'", "number": "'MAI-A' || e.id",
            "receipt": "'RA' || e.id", "location_id": place, "sold_at": "e.at", "has_details": "true",
            "lines_cents": "e.worth * 100", "net_cents": "e.worth * 100", "tax_cents": "e.worth * 12",
            "total_cents": "e.worth * 112", "payments": "'Cash'", "currency": "'CAD'", "discounts": "'[]'",
        }, "FROM seed_event e WHERE e.kind IN ('earn', 'visit') AND e.id %% 20 = 7")  # fmt: skip
        self.insert("loyalty_salestate", {
            "sale_id": "s.id", "persona_id": "substr(nullif(s.customer_id, ''), 2)::bigint",
            "explanation": "jsonb_build_object('why', CASE s.kind WHEN 'refund' THEN 'refund' ELSE 'no_customer' END)",
        }, f"FROM integrations_sale s WHERE s.id > {top} ORDER BY s.id")  # fmt: skip

    def ledger(self) -> None:
        self.insert("loyalty_redemption", {
            "id": "r.id", "persona_id": "r.person", "discount_id": "r.discount", "n": "r.n", "state": "r.state",
            "channel": "CASE WHEN r.state = 'settled' AND r.next_id IS NULL THEN 'web' ELSE 'till' END",
            "transaction": "CASE WHEN r.state = 'settled' THEN coalesce('MAI-' || r.next_id, '') ELSE 'T' || r.id END",
            "points": "100", "reverted_points": "CASE WHEN r.undone THEN 100 ELSE 0 END",
            "store_id": "(%(stores)s::bigint[])[1 + r.person %% cardinality(%(stores)s::bigint[])]",
            "sale_id": "CASE WHEN r.state = 'settled' THEN r.next_id END",
            "user_id": f"CASE WHEN r.id %% 9 = 0 THEN {_STAFF.format('r')} END",
            "applied_at": "r.at", "settled_at": "CASE WHEN r.state = 'settled' THEN coalesce(r.next_at, r.at) END",
            "ended_at": "CASE WHEN r.undone THEN r.next_at END",
            "why_ended": "CASE r.state WHEN 'released' THEN 'no_sale' WHEN 'reverted' THEN 'staff' ELSE '' END",
            "matched_by": "CASE WHEN r.state = 'settled' AND r.next_id IS NOT NULL THEN 'transaction' ELSE '' END",
        }, "FROM seed_redemption r ORDER BY r.id")  # fmt: skip
        self.insert("loyalty_entry", {
            "id": "e.id", "persona_id": "e.person", "kind": "e.kind", "points": "e.points",
            "balance_after": "e.balance",
            "key": """CASE e.kind WHEN 'earn' THEN 'earn:' || e.id || ':0' WHEN 'redeem' THEN 'redeem:' || e.id
                      WHEN 'reverse' THEN 'revert:' || r.id || ':100'
                      WHEN 'boost' THEN 'boost:' || %(boost)s || ':' || e.person || ':0'
                      ELSE 'adjust:' || e.person || ':' || e.e END""",
            "sale_id": "CASE WHEN e.kind = 'earn' THEN e.id END",
            "redemption_id": "CASE e.kind WHEN 'redeem' THEN e.id WHEN 'reverse' THEN r.id END",
            "user_id": f"""CASE WHEN e.kind = 'adjust' OR e.kind = 'redeem' AND e.id %% 9 = 0
                           THEN {_STAFF.format("e")} END""",
            "note": "CASE WHEN e.kind = 'adjust' THEN 'Birthday' ELSE '' END",
            "explanation": f"CASE e.kind WHEN 'earn' THEN {_EARNED} WHEN 'boost' THEN {_WELCOME} ELSE '{{}}' END",
            "cause_at": "e.at", "at": "e.at",
        }, """FROM seed_event e LEFT JOIN seed_redemption r ON r.next_id = e.id AND r.undone
              WHERE e.kind <> 'visit' ORDER BY e.id""")  # fmt: skip
        # A redemption draws from the lots whose stretch of the line it covers, oldest first; what undoes it, the same.
        self.insert("loyalty_draw", {
            "entry_id": "d.entry", "lot_id": "d.lot", "points": "d.points",
        }, """FROM (
                  SELECT r.id AS entry, l.id AS lot,
                         greatest(r.went, l.came) - least(r.went + 100, l.came + l.points) AS points
                  FROM seed_redemption r JOIN seed_event l
                       ON l.person = r.person AND l.kind IN ('earn', 'adjust', 'boost')
                       AND l.came < r.went + 100 AND l.came + l.points > r.went
              ) d ORDER BY d.entry, d.lot""")  # fmt: skip
        self.insert("loyalty_draw", {
            "entry_id": "r.next_id", "lot_id": "d.lot_id", "points": "-d.points",
        }, """FROM seed_redemption r JOIN loyalty_draw d ON d.entry_id = r.id
              WHERE r.undone ORDER BY r.next_id""")  # fmt: skip
        self.insert("loyalty_lot", {
            "id": "e.id", "persona_id": "e.person", "entry_id": "e.id", "kind": "e.kind", "points": "e.points",
            "remaining": "e.points + coalesce(d.points, 0)", "expires_at": "date_trunc('day', e.at) + %(days)s",
            "created_at": "e.at",
        }, """FROM seed_event e LEFT JOIN (SELECT lot_id, sum(points) AS points FROM loyalty_draw GROUP BY lot_id) d
              ON d.lot_id = e.id WHERE e.kind IN ('earn', 'adjust', 'boost') ORDER BY e.id""")  # fmt: skip
        self.insert("loyalty_booststate", {
            "modifier_id": "%(boost)s", "persona_id": "e.person", "posted": "e.points", "posts": "1", "at": "e.at",
        }, "FROM seed_event e WHERE e.kind = 'boost' ORDER BY e.id")  # fmt: skip
        self.insert("loyalty_couponcode", {
            "discount_id": "%(coded)s", "code": "'USED-' || r.id", "redemption_id": "r.id", "assigned_at": "r.at",
        }, "FROM seed_redemption r WHERE r.discount = %(coded)s ORDER BY r.id")  # fmt: skip

    def around(self) -> None:
        """What else is kept of shoppers: consent, messages, audiences, what somebody looks into."""
        self.insert("loyalty_consentline", {
            "id": "p.id", "channel": "'sms'", "address": "p.phone", "persona_id": "p.id", "act": "'opt_in'",
            "source": "'form'", "wording": "'Yes, text me.'", "at": "%(now)s::timestamptz - p.ago",
            "noted_at": "%(now)s::timestamptz - p.ago",
        }, "FROM seed_person p WHERE p.has_phone AND p.id %% 2 = 0 ORDER BY p.id")  # fmt: skip
        self.insert("loyalty_consentstate", {
            "channel": "l.channel", "address": "l.address", "state": "'in'", "since": "l.at", "line_id": "l.id",
        }, "FROM loyalty_consentline l ORDER BY l.id")  # fmt: skip
        self.insert("loyalty_message", {
            "key": "'confirm:' || p.id", "channel": "'sms'", "address": "p.phone", "persona_id": "p.id",
            "purpose": "'confirm'", "body": "'Thank you.'", "state": "'sent'", "sent_at": "%(now)s",
            "not_before": "%(now)s",
        }, "FROM seed_person p WHERE p.has_phone AND p.id %% 10 = 2 ORDER BY p.id")  # fmt: skip
        self.insert("loyalty_audiencemember", {
            "audience_id": "%(audience)s", "persona_id": "p.id", "joined_at": "%(now)s::timestamptz - p.ago",
        }, "FROM seed_person p WHERE p.id %% 10 = 1 AND p.into_id IS NULL ORDER BY p.id")  # fmt: skip
        self.insert("loyalty_investigation", {
            "persona_id": "p.id", "note": "'Points came twice?'", "at": "%(now)s",
        }, "FROM seed_person p WHERE p.id %% 2000 = 11 ORDER BY p.id")  # fmt: skip
        self.insert("loyalty_suspectnumber", {
            "phone": "p.phone", "customers": "3 + p.id %% 40", "people": "3", "reason": "'many'", "decision": "'open'",
        }, "FROM seed_person p WHERE p.id %% 2000 = 21 ORDER BY p.id")  # fmt: skip
        self.insert("loyalty_shortfall", {
            "persona_id": "p.id", "key": "'shortfall:by-hand:' || p.id", "points": "25", "state": "'open'",
            "at": "%(now)s",
        }, "FROM seed_person p WHERE p.member AND p.id %% 1000 = 31 ORDER BY p.id")  # fmt: skip
        self.insert("loyalty_review", {
            "kind": "'no_discount'", "redemption_id": "r.id", "outcome": "'dismissed'", "at": "r.at",
        }, "FROM seed_redemption r WHERE r.state = 'released' AND r.id %% 10 > 0 ORDER BY r.id")  # fmt: skip

    def count_on(self) -> None:
        """Sequences go on behind the highest id."""
        for [table] in self.db.execute(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'id'"
            " AND is_identity = 'YES'"
        ).fetchall():
            self.db.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), coalesce(max(id), 0) + 1, false) FROM {table}"
            )

    def merges(self) -> None:
        """By the product's own function, in slices: a thousand merges are one transaction."""
        if not self.events:
            self.do("UPDATE loyalty_persona p SET merged_into_id = s.into_id FROM seed_person s WHERE s.id = p.id"
                    " AND s.into_id IS NOT NULL")  # fmt: skip
            return
        self.insert("loyalty_merge", {
            "survivor_id": "p.into_id", "loser_id": "p.id", "why": "'phone'", "value": "p.phone",
            "at": "%(now)s::timestamptz - interval '20 days'",
        }, "FROM seed_person p WHERE p.into_id IS NOT NULL ORDER BY p.id")  # fmt: skip
        self.do("ANALYZE")
        done = 0
        while done is not None:
            [done] = self.db.execute(
                """SELECT max(id) FROM (
                       SELECT id, loyalty_merge(account_id, id, at) FROM (
                           SELECT * FROM loyalty_merge WHERE id > %s ORDER BY id LIMIT 1000) m) x""",
                [done],
            ).fetchone()
