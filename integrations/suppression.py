"""People who were removed on request: digests of what they were known by, and what landing makes of their rows.

Nothing here tells who somebody was; it only recognises him when he comes again. A record of his lands as a stub: a
pseudonym instead of the POS's id, no name, no number. His sales keep their money, their place and their moment, name
the pseudonym, and no longer say what was bought. This module is the only writer of what it takes out.
"""

import hmac
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import orjson
from django.conf import settings
from django.db import connection
from django.db.models import Q

from .digests import contact_digest
from .kit.phones import e164
from .kit.phones import email as email_of
from .kit.records import CustomerRecord, LineRecord, SaleRecord
from .models import OutsideMarket, PushedCall, RefusedRow, Suppression, UploadError

PHONE, EMAIL, SOURCE = "phone", "email", "source"
PSEUDONYM = "erased:"
REASON = "A row of somebody who was removed on request."

Known = tuple[str, str]  # kind and value; a source's value is `source_value`


def digest(account_id: int, kind: str, value: str) -> str:
    """Keyed with the installation's key, so that a copy of the database cannot be tried out with every number."""
    said = f"suppressed|{account_id}|{kind}|{value}".encode()
    return hmac.digest(settings.LINK_KEY.encode(), said, "sha256").hex()


def source_value(origin_id: int, external_id: str) -> str:
    return f"{origin_id}:{external_id}"


def pseudonym(account_id: int, origin_id: int, external_id: str) -> str:
    """What stands for a POS's id from now on: the same for the same record, whenever it comes."""
    return PSEUDONYM + digest(account_id, SOURCE, source_value(origin_id, external_id))


def listed(*, account_id: int, known: Iterable[Known]) -> set[Known]:
    """Which of these are somebody's who was removed. One look where nobody was, one more where somebody was."""
    if not Suppression.unscoped.filter(account_id=account_id).exists():
        return set()
    by_digest = {digest(account_id, kind, value): (kind, value) for kind, value in known if value}
    found = Suppression.unscoped.filter(
        account_id=account_id, kind__in={kind for kind, _ in by_digest.values()}, digest__in=list(by_digest)
    )
    return {by_digest[one] for one in found.values_list("digest", flat=True)}


def is_listed(*, account_id: int, kind: str, value: str) -> bool:
    return bool(value) and bool(listed(account_id=account_id, known=[(kind, value)]))


def add(*, account_id: int, known: Iterable[Known], now: datetime) -> None:
    """Put these on the list; what is there stays."""
    digests = sorted({(kind, digest(account_id, kind, value)) for kind, value in known if value})
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO integrations_suppression (account_id, kind, digest, created_at)
               SELECT %s, k.kind, k.digest, %s FROM unnest(%s::text[], %s::text[]) k (kind, digest)
               ON CONFLICT DO NOTHING""",
            [account_id, now, [kind for kind, _ in digests], [found for _, found in digests]],
        )


def lift(*, account_id: int, kind: str, value: str) -> bool:
    """Take a phone or an e-mail off the list: the shopper came back, or the number is somebody else's by now."""
    gone, _ = Suppression.unscoped.filter(
        account_id=account_id, kind=kind, digest=digest(account_id, kind, value)
    ).delete()
    return bool(gone)


# What landing asks before anything


def customers(
    cursor: Any, *, account_id: int, origin_id: int, records: Sequence[CustomerRecord]
) -> list[CustomerRecord]:
    """The same records, those of removed people as stubs.

    A record is theirs by its id; a new one also by its phone or its e-mail, either is enough. A record that we know as
    somebody else's stays his: it only does not get the number, which an import or a carrier has given to him.
    """
    sources = {record.external_id: source_value(origin_id, record.external_id) for record in records}
    bears = {
        record.external_id: {
            (PHONE, record.phone),
            (EMAIL, record.email),
            # Merged in the POS into one of theirs: the same person by the POS's word.
            (SOURCE, source_value(origin_id, record.merged_into) if record.merged_into else ""),
        }
        for record in records
    }
    known = [(SOURCE, value) for value in sources.values()] + [one for some in bears.values() for one in some]
    hits = listed(account_id=account_id, known=known)
    if not hits:
        return list(records)
    ours = {one for one, value in sources.items() if (SOURCE, value) in hits}
    bearers = {one for one, some in bears.items() if one not in ours and some & hits}
    cursor.execute(
        "SELECT external_id FROM integrations_customer WHERE origin_id = %s AND external_id = ANY(%s)",
        [origin_id, sorted(bearers)],
    )
    others = {row[0] for row in cursor.fetchall()}
    if fresh := bearers - others:
        # From now on by its id too, whatever number it shows tomorrow; and its sales may have come before it.
        add(account_id=account_id, known=[(SOURCE, sources[one]) for one in fresh], now=_now(cursor))
        forget_sales(cursor, account_id=account_id, sources=[(origin_id, one) for one in sorted(fresh)])
        forget_pushed(account_id=account_id, sources=[(origin_id, one) for one in sorted(fresh)], known=(), region="")
        ours |= fresh
    landed = []
    for record in records:
        if record.external_id in ours:
            landed.append(CustomerRecord(pseudonym(account_id, origin_id, record.external_id)))
        elif record.external_id in others:
            landed.append(_without(record, hits))
        else:
            landed.append(record)
    return landed


def _without(record: CustomerRecord, hits: set[Known]) -> CustomerRecord:
    if (PHONE, record.phone) in hits:
        record = record._replace(phone="", phone_raw="")
    if (EMAIL, record.email) in hits:
        record = record._replace(email="", email_raw="")
    return record


def mark_stubs(cursor: Any, *, origin_id: int, records: Sequence[CustomerRecord]) -> None:
    """Stubs that were written just now are nobody's, like those an erasure left."""
    if stubs := [record.external_id for record in records if record.external_id.startswith(PSEUDONYM)]:
        cursor.execute(
            """UPDATE integrations_customer SET erased_at = now()
               WHERE origin_id = %s AND external_id = ANY(%s) AND erased_at IS NULL""",
            [origin_id, stubs],
        )


def sales(*, account_id: int, origin_id: int, records: Sequence[SaleRecord]) -> list[SaleRecord]:
    """The same records; those of removed people name the pseudonym and no product."""
    known = {record.customer_id for record in records if record.customer_id}
    hits = listed(account_id=account_id, known=[(SOURCE, source_value(origin_id, one)) for one in known])
    if not hits:
        return list(records)
    return [
        record._replace(customer_id=pseudonym(account_id, origin_id, record.customer_id), lines=folded(record.lines))
        if (SOURCE, source_value(origin_id, record.customer_id)) in hits
        else record
        for record in records
    ]


def folded(lines: Sequence[LineRecord]) -> tuple[LineRecord, ...]:
    """The money of these lines without what was bought: one line for those whose cost is known, one for the others."""
    parts = ([one for one in lines if one.cost_cents is not None], [one for one in lines if one.cost_cents is None])
    return tuple(
        LineRecord(
            number,
            total_cents=sum(one.total_cents for one in part),
            discount_cents=sum(one.discount_cents for one in part),
            cost_cents=None if part[0].cost_cents is None else sum(one.cost_cents or 0 for one in part),
        )
        for number, part in enumerate([part for part in parts if part], 1)
    )


def refused(
    *, account_id: int, origin_id: int, stream: str, rows: Sequence[tuple[str, str, str, str]], region: str
) -> list[tuple[str, str, str, str | None]]:
    """Rows that could not be taken over (key, external id, reason, JSON), without what they tell of removed people.

    Nobody needs to mend a removed person's record: it is not kept. A sale is, without its row.
    """
    if not rows or not Suppression.unscoped.filter(account_id=account_id).exists():
        return list(rows)
    kept: list[tuple[str, str, str, str | None]] = []
    for key, external_id, why, raw in rows:
        known = set(meanings(orjson.loads(raw), origin_id, region))
        if stream == "customers":
            known.add((SOURCE, source_value(origin_id, external_id)))
        if not listed(account_id=account_id, known=known):
            kept.append((key, external_id, why, raw))
        elif stream != "customers":
            kept.append((key, external_id, REASON, None))
    return kept


_ADDRESS = re.compile(r"[^\s\"'<>,;]+@[^\s\"'<>,;]+")
_NUMBER = re.compile(r"\+?\(?\d[\d\s().-]{5,18}\d")


# How pushed calls name the customer's id (kit/plain.py); vendors say "customer" somewhere in the name.
_CUSTOMER_KEYS = ("pos_user", "srcID", "src_id")


def meanings(value: Any, origin_id: int, region: str, key: str = "") -> Iterator[Known]:
    """What the values of a vendor's row may be: a customer's id, phones, e-mails."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from meanings(one, origin_id, region, name)
    elif isinstance(value, list):
        for one in value:
            yield from meanings(one, origin_id, region, key)
    elif isinstance(value, str | int) and not isinstance(value, bool):
        text = str(value)
        if "customer" in key.lower() or key in _CUSTOMER_KEYS:
            yield SOURCE, source_value(origin_id, text)
        yield from ((PHONE, phone) for found in _NUMBER.findall(text) if (phone := e164(found, region)))
        yield from ((EMAIL, address) for found in _ADDRESS.findall(text) if (address := email_of(found)))


# Taking out


def forget(
    *,
    account_id: int,
    customer_ids: Collection[int],
    sale_ids: Collection[int],
    known: Collection[Known],
    names: Collection[str],
    region: str,
    now: datetime,
) -> int:
    """Take everything out that the POS told of these customers, and list them. Returns how many sales were theirs.

    `sale_ids` are receipts without a customer that were given to the person by hand. `known` (phones, e-mails) and
    `names` find what refused rows tell. The caller holds the locks of all the account's origins, so that no page lands
    in between.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id, origin_id, external_id FROM integrations_customer
               WHERE account_id = %s AND id = ANY(%s) AND erased_at IS NULL ORDER BY id""",
            [account_id, list(customer_ids)],
        )
        found = cursor.fetchall()
        sources = [(origin, external_id) for _, origin, external_id in found]
        add(account_id=account_id, known=[(SOURCE, source_value(*one)) for one in sources], now=now)
        rows = told_of(account_id=account_id, sources=sources, known=known, names=names, region=region)
        RefusedRow.unscoped.filter(pk__in=[row.pk for row in rows]).delete()
        from .uploads import services as upload_services  # it lands rows, and landing asks this list

        told = errors_told_of(account_id=account_id, sources=sources, known=known, names=names, region=region)
        upload_services.forget(account_id=account_id, told=[error.pk for error in told], now=now)
        forget_pushed(account_id=account_id, sources=sources, known=known, region=region)
        _forget_outside(account_id, known)
        sold = forget_sales(cursor, account_id=account_id, sources=sources, sale_ids=sale_ids)
        cursor.execute(
            """UPDATE integrations_customer c SET external_id = k.name, first_name = '', last_name = '', phone = '',
                   phone_raw = '', email = '', email_raw = '', birth_date = NULL, street = '', city = '', state = '',
                   postal_code = '', country = '', pricing_group = '', do_not_contact = NULL, disabled = false,
                   merged_into = '', customer_type = '', government_id = '', medical_id = '', version = 0,
                   modified_at = NULL, erased_at = %s, changed_at = %s
               FROM unnest(%s::bigint[], %s::text[]) k (id, name) WHERE c.id = k.id AND c.account_id = %s""",
            [now, now, [pk for pk, _, _ in found], [pseudonym(account_id, *one) for one in sources], account_id],
        )
    return sold


def _forget_outside(account_id: int, known: Collection[Known]) -> None:
    """Records of theirs that stayed outside a market: even their digests go."""
    by_kind = {
        kind: [contact_digest(value, kind=kind, account_id=account_id) for one, value in known if one == kind and value]
        for kind in (PHONE, EMAIL)
    }
    OutsideMarket.unscoped.filter(
        Q(phone_digest__in=by_kind[PHONE]) | Q(email_digest__in=by_kind[EMAIL]), account_id=account_id
    ).delete()


def forget_sales(
    cursor: Any, *, account_id: int, sources: Sequence[tuple[int, str]], sale_ids: Collection[int] = ()
) -> int:
    """The sales of these records (origin, external id) name the pseudonym; they and `sale_ids` no product. How many."""
    names = [pseudonym(account_id, *one) for one in sources]
    # Their digest goes: the line that stands for all is written once more when the sale is read again, and then rests.
    cursor.execute(
        """UPDATE integrations_sale s SET customer_id = k.name, lines_digest = ''
           FROM unnest(%s::bigint[], %s::text[], %s::text[]) k (origin, external_id, name)
           WHERE s.origin_id = k.origin AND s.customer_id = k.external_id AND s.account_id = %s RETURNING s.id""",
        [[one[0] for one in sources], [one[1] for one in sources], names, account_id],
    )
    sales = sorted({row[0] for row in cursor.fetchall()} | set(sale_ids))
    cursor.execute(
        """SELECT sale_id, row_number() OVER (PARTITION BY sale_id ORDER BY cost_cents IS NULL),
                  sum(total_cents)::bigint, sum(discount_cents)::bigint, sum(cost_cents)::bigint
           FROM integrations_saleline WHERE sale_id = ANY(%s) GROUP BY sale_id, cost_cents IS NULL""",
        [sales],
    )
    lines = cursor.fetchall()
    cursor.execute("DELETE FROM integrations_saleline WHERE sale_id = ANY(%s)", [sales])
    cursor.execute(
        """INSERT INTO integrations_saleline (account_id, sale_id, number, product_id, sku, name, category, brand,
               quantity, unit, list_price, unit_price, total_cents, discount_cents, cost_cents)
           SELECT %s, l.sale, l.number, '', '', '', '', '', 1, '', 0, 0, l.total, l.discount, l.cost
           FROM unnest(%s::bigint[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[])
                l (sale, number, total, discount, cost)""",
        [account_id, *([list(column) for column in zip(*lines, strict=True)] or [[]] * 5)],
    )
    cursor.execute(
        """UPDATE integrations_sale s SET line_count = l.count
           FROM (SELECT sale_id, count(*) FROM integrations_saleline WHERE sale_id = ANY(%s) GROUP BY 1) l
           WHERE s.id = l.sale_id""",
        [sales],
    )
    return len(sales)


def forget_pushed(*, account_id: int, sources: Iterable[tuple[int, str]], known: Iterable[Known], region: str) -> int:
    """Take whole items that tell of these people out of the bodies of pushed calls. How many calls were changed."""
    theirs = {one for one in (*known, *((SOURCE, source_value(*one)) for one in sources)) if one[1]}
    if not theirs:
        return 0
    digests = sorted(digest(account_id, *one) for one in theirs)
    calls = list(
        PushedCall.unscoped.filter(account_id=account_id, mentions__overlap=digests)
        .order_by("slot", "pk")
        .select_for_update()
    )
    for call in calls:
        PushedCall.unscoped.filter(pk=call.pk, slot=call.slot).update(
            body=[item for item in call.body if not set(meanings(item, call.origin_id, region)) & theirs],
            mentions=[one for one in call.mentions if one not in digests],
        )
    return len(calls)


def told_of(
    *,
    account_id: int,
    sources: Collection[tuple[int, str]],
    known: Collection[Known],
    names: Collection[str],
    region: str,
) -> Iterator[RefusedRow]:
    """Refused rows that tell of somebody: by the record's id, a phone in any writing, an e-mail, a whole name."""
    tells = _tells(sources=sources, known=known, names=names, region=region)
    for row in RefusedRow.unscoped.filter(account_id=account_id).order_by("pk").iterator(chunk_size=500):
        own = {(SOURCE, source_value(row.origin_id, row.external_id))} if row.stream == "customers" else set()
        text = f"{row.reason} {row.key} {orjson.dumps(row.row).decode()}"
        if tells(text, row.row, row.origin_id, own):
            yield row


def errors_told_of(
    *,
    account_id: int,
    sources: Collection[tuple[int, str]],
    known: Collection[Known],
    names: Collection[str],
    region: str,
) -> Iterator[UploadError]:
    """The same of rows of uploaded files that could not be read."""
    tells = _tells(sources=sources, known=known, names=names, region=region)
    ids = {external_id for _, external_id in sources}
    found = UploadError.unscoped.filter(account_id=account_id).select_related("upload").order_by("pk")
    for error in found.iterator(chunk_size=500):
        text = f"{error.reason} {orjson.dumps(error.cells).decode()}"
        if ids & set(error.cells) or tells(text, error.cells, error.upload.origin_id, set()):
            yield error


def _tells(
    *, sources: Collection[tuple[int, str]], known: Collection[Known], names: Collection[str], region: str
) -> Callable[[str, Any, int, set[Known]], bool]:
    theirs = {*known, *((SOURCE, source_value(*one)) for one in sources)}
    digits = {value.lstrip("+")[-10:] for kind, value in known if kind == PHONE}
    words = {value for kind, value in known if kind == EMAIL}

    def tells(text: str, value: Any, origin_id: int, own: set[Known]) -> bool:
        text = text.lower()
        return bool(
            (own | set(meanings(value, origin_id, region))) & theirs
            or any(one in re.sub(r"\D", "", text) for one in digits)
            or any(one in text for one in words)
            or any(name and all(part in text for part in name.lower().split()) for name in names)
        )

    return tells


def _now(cursor: Any) -> datetime:
    cursor.execute("SELECT now()")
    return cursor.fetchone()[0]
