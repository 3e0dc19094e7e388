"""Landing: a page of records into the tables, set-based, in the caller's transaction.

COPY to a temporary table, then one INSERT ... ON CONFLICT DO UPDATE ... WHERE IS DISTINCT FROM: an unchanged row
writes nothing. Pulled, pushed and uploaded rows all come through here.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection

from aiqsync.accounts.statistics import loaded

from . import shaping, suppression
from .digests import paper_id
from .kit.records import (
    BalanceRecord,
    CustomerRecord,
    FilePiece,
    LineRecord,
    LocationRecord,
    PricingGroupRecord,
    ProductRecord,
    SaleRecord,
    StockRecord,
    TermRecord,
)
from .refusals import Refused


@dataclass
class Landed:
    """What one call wrote. Ids are our own; `new` and `changed` do not overlap."""

    read: int = 0
    new: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    unchanged: int = 0
    outside: int = 0  # customers who stay outside the market
    people: list[int] = field(default_factory=list)  # customers of whom sales told something new

    def add(self, other: "Landed") -> None:
        self.read += other.read
        self.unchanged += other.unchanged
        self.outside += other.outside
        self.new += other.new
        self.changed += other.changed
        self.people += other.people

    @property
    def touched(self) -> list[int]:
        return self.new + self.changed


# Column definitions of the temporary tables: in the order of the records' fields.
_CUSTOMER = """external_id text, first_name text, last_name text, phone text, phone_raw text, email text,
    email_raw text, birth_date date, street text, city text, state text, postal_code text, country text,
    pricing_group text, do_not_contact boolean, disabled boolean, merged_into text, version bigint,
    modified_at timestamptz, customer_type text, government_id text, medical_id text"""
# A vendor's list of customers may not know these, while its sales do: a blank keeps what there is.
_OF_PAPERS = ("customer_type", "government_id", "medical_id")
_LOCATION = """external_id text, name text, street text, city text, state text, postal_code text, country text,
    phone text, time_zone text, active boolean"""
_PRICING_GROUP = "external_id text, name text, description text, deleted boolean"
_SALE = """external_id text, kind text, number text, receipt text, original_id text, location_external text,
    customer_id text, employee_id text, employee_name text, sold_at timestamptz, fulfilment text, lines_cents bigint,
    discount_cents bigint, tax_cents bigint, total_cents bigint, net_cents bigint, payments text, discounts jsonb,
    has_details boolean, currency text, line_count int, lines_digest text"""

_PRODUCT = """external_id text, sku text, name text, category text, brand text, unit text, price_cents bigint,
    cost_cents bigint, tracks_stock boolean, active boolean"""
_TERM = "external_id text, kind text, name text, active boolean"
_STOCK = "external_id text, product_id text, location_external text, quantity numeric(14,4)"
_BALANCE = "external_id text, points numeric(14,2), location_external text"

_TYPES = ("", "medical", "recreational")

# The widths of our columns: a longer text is cut here, once, instead of refusing the row in the database.
_WIDTHS: dict[str, dict[str, int]] = {
    "customer": {"first_name": 200, "last_name": 200, "phone_raw": 100, "email_raw": 254, "street": 200, "city": 100,
                 "state": 20, "postal_code": 20, "country": 2},
    "location": {"name": 200, "street": 200, "city": 100, "state": 20, "postal_code": 20, "country": 2, "phone": 60},
    "pricinggroup": {"name": 200, "description": 500},
    "product": {"sku": 100, "name": 300, "category": 200, "brand": 200, "unit": 10},
    "term": {"name": 200},
    "sale": {"number": 60, "receipt": 60, "employee_id": 60, "employee_name": 200, "payments": 200, "currency": 3},
}  # fmt: skip


def _names(columns: str) -> list[str]:
    return [part.split()[0] for part in columns.split(",")]


def _copy(cursor, table: str, columns: str, rows: Iterable[Sequence]) -> None:
    assert connection.in_atomic_block, "landing belongs to a page's transaction"
    cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table} ({columns}) ON COMMIT DELETE ROWS")
    # A page may be landed in parts within one transaction.
    cursor.execute(f"TRUNCATE {table}")
    with cursor.copy(f"COPY {table} FROM STDIN") as out:
        for row in rows:
            out.write_row(row)


def _last_of_each(records: Sequence) -> list:
    """The same key twice in one batch is an error in ON CONFLICT; the later row is the newer one."""
    return list({record.external_id: record for record in records}.values())


def _upsert(
    cursor, *, what: str, columns: str, account_id: int, origin_id: int, guard: str = "", keep: Sequence[str] = (),
    retired: Sequence[str] = (),
) -> Landed:  # fmt: skip
    """`keep`: columns in which a blank changes nothing; `retired`: those in which it does not while the row is not
    active, for a vendor may say of what was deleted only that it was."""
    table, temp = f"integrations_{what}", f"land_{what}"
    names = _names(columns)
    widths = _WIDTHS[what]
    values = ", ".join(f"left(l.{n}, {widths[n]})" if n in widths else f"l.{n}" for n in names)
    new = {n: f"excluded.{n}" for n in names[1:]}
    new |= {n: f"coalesce(nullif(excluded.{n}, ''), t.{n})" for n in keep}
    for n in retired:
        known = f"excluded.{n}" if n.endswith("_cents") else f"nullif(excluded.{n}, '')"
        new[n] = f"CASE WHEN excluded.active THEN excluded.{n} ELSE coalesce({known}, t.{n}) END"
    sets = ", ".join(f"{n} = {value}" for n, value in new.items())
    ours, theirs = ", ".join(f"t.{n}" for n in new), ", ".join(new.values())
    cursor.execute(
        f"""INSERT INTO {table} AS t (account_id, origin_id, {", ".join(names)}, changed_at)
            SELECT %s, %s, {values}, now() FROM {temp} l ORDER BY l.external_id
            ON CONFLICT (origin_id, external_id) DO UPDATE SET {sets}, changed_at = now()
            WHERE ({ours}) IS DISTINCT FROM ({theirs}) {guard}
            RETURNING id, xmax = 0""",
        [account_id, origin_id],
    )
    landed = Landed()
    for pk, inserted in cursor.fetchall():
        (landed.new if inserted else landed.changed).append(pk)
    return landed


def _count(landed: Landed, read: int) -> Landed:
    landed.read = read
    landed.unchanged = read - len(landed.new) - len(landed.changed) - landed.outside
    return landed


def customers(*, account_id: int, origin_id: int, records: Sequence[CustomerRecord], shaped: bool = True) -> Landed:
    """Land customers. A row with an older version than ours changes nothing; one of somebody removed is a stub.

    `shaped`: as the card's settings say, who stays outside and whose edits do. Not for one that we created ourselves.
    """
    rows = [_without_papers(account_id, row) for row in _last_of_each(records)]
    with connection.cursor() as cursor:
        rows = suppression.customers(cursor, account_id=account_id, origin_id=origin_id, records=rows)
        outside = 0
        if shaped:
            rows, outside = shaping.customers(cursor, account_id=account_id, origin_id=origin_id, records=rows)
        _copy(cursor, "land_customer", _CUSTOMER, rows)
        landed = _upsert(
            cursor, what="customer", columns=_CUSTOMER, account_id=account_id, origin_id=origin_id,
            guard="AND excluded.version >= t.version", keep=_OF_PAPERS,
        )  # fmt: skip
        landed.outside = outside
        suppression.mark_stubs(cursor, origin_id=origin_id, records=rows)
        loaded(cursor, len(landed.new), "integrations_customer")
    return _count(landed, len(records))


def _without_papers(account_id: int, row: CustomerRecord) -> CustomerRecord:
    """Digests instead of the numbers of papers: those never reach the database, not even a temporary table."""
    if not row.government_id and not row.medical_id and row.customer_type in _TYPES:
        return row
    return row._replace(
        customer_type=row.customer_type if row.customer_type in _TYPES else "",
        government_id=paper_id(row.government_id, kind="government_id", account_id=account_id),
        medical_id=paper_id(row.medical_id, kind="medical_id", account_id=account_id),
    )


def _told_by_sales(cursor, account_id: int, origin_id: int, rows: Iterable[SaleRecord]) -> list[int]:
    """Write what sales tell of their customers (the latest sale's word). Returns the customers that changed."""
    told: dict[str, tuple[datetime | None, str, str, str]] = {}
    for sale in sorted((s for s in rows if s.customer_id), key=lambda s: s.sold_at):
        if sale.customer_type or sale.government_id or sale.medical_id:
            told[sale.customer_id] = (
                sale.sold_at,
                sale.customer_type if sale.customer_type in _TYPES else "",
                paper_id(sale.government_id, kind="government_id", account_id=account_id),
                paper_id(sale.medical_id, kind="medical_id", account_id=account_id),
            )
    if not told:
        return []
    times, types, licences, medicals = (list(column) for column in zip(*told.values(), strict=True))
    # Most sales say of most people that they are no patients. Unknown counts as that: it is written down only where it
    # takes back what was known, or every customer would be written twice.
    cursor.execute(
        """UPDATE integrations_customer c SET
                  customer_type = CASE WHEN w.kind = 'medical' OR c.customer_type = 'medical' AND w.kind <> ''
                                       THEN w.kind ELSE c.customer_type END,
                  government_id = coalesce(nullif(w.licence, ''), c.government_id),
                  medical_id = coalesce(nullif(w.medical, ''), c.medical_id), changed_at = now()
           FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::text[], %s::text[])
                w (id, at, kind, licence, medical)
           WHERE c.account_id = %s AND c.origin_id = %s AND c.external_id = w.id AND c.erased_at IS NULL
             AND (w.kind = 'medical' AND c.customer_type <> 'medical'
                  OR w.kind = 'recreational' AND c.customer_type = 'medical' OR w.licence NOT IN ('', c.government_id)
                  OR w.medical NOT IN ('', c.medical_id))
             -- History is read newest first: an older sale knows less.
             AND NOT EXISTS (SELECT FROM integrations_sale later WHERE later.origin_id = c.origin_id
                             AND later.customer_id = c.external_id AND later.customer_id <> '' AND later.sold_at > w.at)
           RETURNING c.id""",
        [list(told), times, types, licences, medicals, account_id, origin_id],
    )
    return sorted(row[0] for row in cursor.fetchall())


def locations(*, account_id: int, origin_id: int, records: Sequence[LocationRecord]) -> Landed:
    rows = _last_of_each(records)
    with connection.cursor() as cursor:
        _copy(cursor, "land_location", _LOCATION, rows)
        landed = _upsert(cursor, what="location", columns=_LOCATION, account_id=account_id, origin_id=origin_id)
    return _count(landed, len(records))


def pricing_groups(*, account_id: int, origin_id: int, records: Sequence[PricingGroupRecord]) -> Landed:
    rows = _last_of_each(records)
    with connection.cursor() as cursor:
        _copy(cursor, "land_pricinggroup", _PRICING_GROUP, rows)
        landed = _upsert(
            cursor, what="pricinggroup", columns=_PRICING_GROUP, account_id=account_id, origin_id=origin_id
        )
    return _count(landed, len(records))


def products(*, account_id: int, origin_id: int, records: Sequence[ProductRecord]) -> Landed:
    """Land products. Of one that is gone what it was stays, for sales of it are read again."""
    was = ("sku", "name", "category", "brand", "unit", "price_cents", "cost_cents")
    return _plain("product", _PRODUCT, account_id, origin_id, records, was)


def terms(*, account_id: int, origin_id: int, records: Sequence[TermRecord]) -> Landed:
    """Land the POS's words. One that is gone keeps its name."""
    return _plain("term", _TERM, account_id, origin_id, records, ("name",))


def _plain(
    what: str, columns: str, account_id: int, origin_id: int, records: Sequence, retired: Sequence[str]
) -> Landed:
    with connection.cursor() as cursor:
        _copy(cursor, f"land_{what}", columns, _last_of_each(records))
        landed = _upsert(
            cursor, what=what, columns=columns, account_id=account_id, origin_id=origin_id, retired=retired
        )
    return _count(landed, len(records))


def stock(*, account_id: int, origin_id: int, records: Sequence[StockRecord]) -> Landed:
    """Land stock levels. A level is the POS's word and replaces ours."""
    return _placed("stock", _STOCK, "product_id, quantity", account_id, origin_id, records)


def balances(*, account_id: int, origin_id: int, records: Sequence[BalanceRecord]) -> Landed:
    """Land the POS's own loyalty balances; a balance that is the same writes nothing."""
    return _placed("customerbalance", _BALANCE, "points", account_id, origin_id, records)


def _placed(what: str, columns: str, values: str, account_id: int, origin_id: int, records: Sequence) -> Landed:
    """Rows that name a place by the vendor's id; one nobody has told us of yet stays empty."""
    names = [name.strip() for name in values.split(",")]
    table, temp = f"integrations_{what}", f"land_{what}"
    own = ", ".join(f"l.{n}" for n in names)
    with connection.cursor() as cursor:
        _copy(cursor, temp, columns, _last_of_each(records))
        changed = " OR ".join(f"t.{n} IS DISTINCT FROM excluded.{n}" for n in [*names, "location_id"])
        cursor.execute(
            f"""INSERT INTO {table} AS t (account_id, origin_id, external_id, location_id, {values}, changed_at)
                SELECT %s, %s, l.external_id, loc.id, {own}, now()
                FROM {temp} l
                LEFT JOIN integrations_location loc ON loc.origin_id = %s AND loc.external_id = l.location_external
                ORDER BY l.external_id
                ON CONFLICT (origin_id, external_id) DO UPDATE
                SET {", ".join(f"{n} = excluded.{n}" for n in [*names, "location_id"])}, changed_at = now()
                WHERE {changed}
                RETURNING id, xmax = 0""",
            [account_id, origin_id, origin_id],
        )
        landed = Landed()
        for pk, inserted in cursor.fetchall():
            (landed.new if inserted else landed.changed).append(pk)
    return _count(landed, len(records))


def _digest(lines: tuple[LineRecord, ...]) -> str:
    # Numbers are normalised: 1 and 1.000 are the same quantity.
    text = "|".join(
        f"{n.number},{n.product_id},{n.sku},{n.name},{n.category},{n.brand},{n.quantity:.4f},{n.unit},"
        f"{n.list_price:.4f},{n.unit_price:.4f},{n.total_cents},{n.discount_cents},{n.cost_cents}"
        for n in lines
    )
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _sale_row(s: SaleRecord) -> tuple:
    return (
        s.external_id, s.kind, s.number, s.receipt, s.original_id, s.location_id, s.customer_id, s.employee_id,
        s.employee_name, s.sold_at, s.fulfilment, s.lines_cents, s.discount_cents, s.tax_cents, s.total_cents,
        s.net_cents, s.payments, s.discounts, s.has_details, s.currency, len(s.lines), _digest(s.lines),
    )  # fmt: skip


# What only the vendor's details tell. The feed's row of the same sale does not wipe it, unless the sale itself changed.
_DETAILS = ("original_id", "lines_cents", "discount_cents", "tax_cents", "net_cents", "discounts")


def sales(*, account_id: int, origin_id: int, records: Sequence[SaleRecord]) -> Landed:
    """Land sales with their lines; those of somebody removed without what was bought."""
    rows = suppression.sales(account_id=account_id, origin_id=origin_id, records=_last_of_each(records))
    by_id = {row.external_id: row for row in rows}
    names = _names(_SALE)
    widths = _WIDTHS["sale"]
    keep = "(s.has_details AND NOT l.has_details AND s.total_cents = l.total_cents)"
    values = []
    for n in names:
        if n == "location_external":
            values.append("loc.id")
        elif n == "payments":
            # How a sale was paid does not become unknown while what was paid stays the same: a vendor's list may leave
            # it blank, and a merchant may have it skipped.
            same = "(l.payments = '' AND s.total_cents = l.total_cents)"
            values.append(f"CASE WHEN {keep} OR {same} THEN s.payments ELSE left(l.payments, {widths[n]}) END")
        elif n in _DETAILS:
            values.append(f"CASE WHEN {keep} THEN s.{n} ELSE l.{n} END")
        elif n == "has_details":
            values.append(f"(l.has_details OR {keep} IS TRUE)")
        else:
            values.append(f"left(l.{n}, {widths[n]})" if n in widths else f"l.{n}")
    columns = ["location_id" if n == "location_external" else n for n in names]
    ours, theirs = (", ".join(f"{p}.{n}" for n in columns[1:]) for p in ("t", "excluded"))
    with connection.cursor() as cursor:
        _copy(cursor, "land_sale", _SALE, (_sale_row(row) for row in rows))
        # A place that the list of locations did not hold yet: the sale keeps it, the next list names it.
        # Where there is no such list, the sale tells the place's name, and that is all there is to know.
        places = {row.location_id: row.location_name for row in rows if row.location_id}
        cursor.execute(
            """INSERT INTO integrations_location (account_id, origin_id, external_id, name, street, city, state,
                   postal_code, country, phone, time_zone, active, changed_at)
               SELECT %s::bigint, %s::bigint, p.id, left(p.name, 200), '', '', '', '', '', '', '', p.name <> '', now()
               FROM unnest(%s::text[], %s::text[]) p (id, name) WHERE NOT EXISTS (
                   SELECT 1 FROM integrations_location x WHERE x.origin_id = %s AND x.external_id = p.id)
               ORDER BY p.id ON CONFLICT DO NOTHING""",
            [account_id, origin_id, list(places), list(places.values()), origin_id],
        )
        cursor.execute(
            f"""INSERT INTO integrations_sale AS t (account_id, origin_id, {", ".join(columns)}, changed_at)
                SELECT %s, %s, {", ".join(values)}, now()
                FROM land_sale l
                LEFT JOIN integrations_location loc ON loc.origin_id = %s AND loc.external_id = l.location_external
                LEFT JOIN integrations_sale s ON s.origin_id = %s AND s.external_id = l.external_id
                ORDER BY l.external_id
                ON CONFLICT (origin_id, external_id) DO UPDATE
                SET {", ".join(f"{n} = excluded.{n}" for n in columns[1:])}, erased_at = NULL, changed_at = now()
                WHERE ({ours}) IS DISTINCT FROM ({theirs})
                RETURNING id, external_id, xmax = 0""",
            [account_id, origin_id, origin_id, origin_id],
        )
        landed = Landed()
        pairs = []
        for pk, external_id, inserted in cursor.fetchall():
            (landed.new if inserted else landed.changed).append(pk)
            pairs.append((pk, by_id[external_id].lines))
        if own := max((row.sold_at for row in rows if row.own_points and row.sold_at), default=None):
            cursor.execute(
                "UPDATE integrations_origin SET own_points_at = %(at)s WHERE id = %(origin)s"
                " AND (own_points_at IS NULL OR own_points_at < %(at)s)",
                {"at": own, "origin": origin_id},
            )
        if landed.changed:
            cursor.execute("DELETE FROM integrations_saleline WHERE sale_id = ANY(%s)", [landed.changed])
        with cursor.copy(
            "COPY integrations_saleline (account_id, sale_id, number, product_id, sku, name, category, brand, quantity,"
            " unit, list_price, unit_price, total_cents, discount_cents, cost_cents) FROM STDIN"
        ) as out:
            for pk, lines in pairs:
                for n in lines:
                    out.write_row(
                        (account_id, pk, n.number, n.product_id[:100], n.sku[:100], n.name[:300], n.category[:200],
                         n.brand[:200], n.quantity, n.unit[:10], n.list_price, n.unit_price, n.total_cents,
                         n.discount_cents, n.cost_cents)
                    )  # fmt: skip
        landed.people = _told_by_sales(cursor, account_id, origin_id, rows)
        loaded(cursor, len(landed.new), "integrations_sale", "integrations_saleline")
    return _count(landed, len(records))


def sales_with_details(*, origin_id: int, external_ids: Sequence[str]) -> dict[str, int]:
    """Which of these sales are stored with details: external id -> total_cents as it was then."""
    if not external_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT external_id, total_cents FROM integrations_sale"
            " WHERE origin_id = %s AND external_id = ANY(%s) AND has_details",
            [origin_id, list(external_ids)],
        )
        return dict(cursor.fetchall())


def of_these(*, sale_ids: Sequence[int], external_ids: Iterable[str]) -> int:
    """How many of these rows are one of these sales."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM integrations_sale WHERE id = ANY(%s) AND external_id = ANY(%s)",
            [list(sale_ids), list(external_ids)],
        )
        return cursor.fetchone()[0]


def refuse(
    *, account_id: int, origin_id: int, stream: str, rows: Sequence[tuple[str, str, str, str]], now: datetime,
    region: str = "",
) -> None:  # fmt: skip
    """Keep bad rows. Each is (key, external_id, reason, redacted row as JSON text); `region` reads phones in them."""
    rows = suppression.refused(
        account_id=account_id, origin_id=origin_id, stream=stream, region=region,
        rows=list({row[0]: row for row in rows}.values()),
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO integrations_refusedrow AS t
               (account_id, origin_id, stream, key, external_id, reason, "row", times, first_at, last_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s::jsonb, 1, %s, %s)
               ON CONFLICT (origin_id, stream, key) DO UPDATE SET reason = excluded.reason, "row" = excluded."row",
                   times = t.times + 1, last_at = excluded.last_at, solved_at = NULL""",
            [(account_id, origin_id, stream, key[:100], ext[:100], why, raw, now, now) for key, ext, why, raw in rows],
        )


def solve(*, origin_id: int, stream: str, external_ids: Sequence[str], now: datetime) -> None:
    """Rows that were refused before have come in right."""
    with connection.cursor() as cursor:
        cursor.execute(
            'UPDATE integrations_refusedrow SET solved_at = %s, "row" = NULL'
            " WHERE origin_id = %s AND stream = %s AND solved_at IS NULL AND external_id <> ''"
            " AND external_id = ANY(%s)",
            [now, origin_id, stream, list(external_ids)],
        )


def lock_origin(origin_id: int) -> None:
    """Pages of one origin land one after the other. NO KEY: rows that refer to the origin need not wait.

    Raises `Refused` while the origin is being erased: what lands meanwhile would be half there.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT erasing_at FROM integrations_origin WHERE id = %s FOR NO KEY UPDATE", [origin_id])
        if (found := cursor.fetchone()) and found[0]:
            raise Refused("What this source brought is being erased. It can be connected again when that is done.")


def file_pieces(*, account_id: int, origin_id: int, records: Sequence[FilePiece]) -> Landed:
    """Keep pieces of dropped files; `new` are the files that are whole now."""
    from .uploads import intake

    return _count(Landed(new=intake.keep(account_id=account_id, origin_id=origin_id, pieces=records)), len(records))


LAND: dict[type, Callable[..., Landed]] = {
    CustomerRecord: customers,
    SaleRecord: sales,
    LocationRecord: locations,
    PricingGroupRecord: pricing_groups,
    ProductRecord: products,
    StockRecord: stock,
    TermRecord: terms,
    BalanceRecord: balances,
    FilePiece: file_pieces,
}
