"""Contacts as the API lists them: found, put in order, counted; and what is told of each, set by set.

Ids are found first, out of an index where there is one for the order, and only the page's rows are read. Names, days of
sign-up and the order of arrival are walked in their index, at any offset. Points and points used are the exceptions: an
index on a balance would cost each redemption more than a page of this list is worth, so those orders read all wallets.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection
from django.db.models import DecimalField, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce

from integrations.services import email_of

from . import search
from .models import BlockedPhone, Persona, Redemption, Source
from .models.people import LISTED

SORTS = ("name", "email", "mobilePhone", "homePhone", "source", "id", "inserted", "signup", "points", "usedpoints")
MOST = 2000
# Ids are given in the order of arrival. There is no second phone, so its order is that of arrival too.
_BY = {"name": "name_key", "email": "email", "mobilePhone": "phone", "homePhone": "pk", "id": "pk", "inserted": "pk",
       "signup": "member_from", "source": "listed_source", "points": "listed_points",
       "usedpoints": "listed_used"}  # fmt: skip

_FLAGS: dict[str, Q | None] = {
    "has:phone": ~Q(phone=""), "has:mobile": ~Q(phone=""), "has:home": None, "has:email": ~Q(email=""),
    "has:name": ~Q(first_name="", last_name=""), "is:member": Q(member_from__isnull=False),
    "not:member": Q(member_from=None), "has:points": Q(wallet__balance__gt=0),
}  # fmt: skip
_QUOTED = re.compile(r'"([^"]*)"')
_PREFIXES = ("email:", "phone:", "mobile:", "name:", "id:")

# How many a search has is asked again for each page of it: a large answer is remembered for a moment, in each process.
REMEMBERED_FROM = 10_000
REMEMBERED_S = 30.0
_remembered: dict[tuple[int, str], tuple[float, int]] = {}


@dataclass(frozen=True, slots=True)
class Page:
    ids: list[int]
    total: int


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact, as told. Moments are None when there is none; `source` is his latest edited POS record's."""

    persona_id: int
    contact_id: UUID
    source_id: str | None
    platform: str | None
    first_name: str
    last_name: str
    email: str
    phone: str  # E.164
    store_number: int | None
    member_from: date | None
    created_at: datetime
    points: Decimal
    sms: str
    sms_since: datetime | None
    sms_asked_at: datetime | None
    mail: str
    mail_since: datetime | None
    address: str
    birth_date: date | None
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Details:
    """What is told of one contact beside: lifetime cents, and attributes (parent, key, value, moment)."""

    spent_cents: int
    attributes: list[tuple[str, str, str, datetime | None]] = field(default_factory=list)


def listed(
    *, account_id: int, region: str, term: str = "", sort: str = "name", descending: bool = False, start: int = 0,
    limit: int = 100,
) -> Page:  # fmt: skip
    """A page of those who match, and how many there are in all. Blank is all.

    Archived people, the employee blocklist's and test shoppers are left out. Ties are in the order of arrival.
    """
    people = Persona.objects.filter(LISTED, account_id=account_id)
    if (found := _narrowed(people, account_id, region, term)) is None:
        return Page([], 0)
    people = found
    if blocked := _blocked(account_id):
        people = people.exclude(pk__in=blocked)
    ordered = _ordered(people, sort, descending)
    ids = list(ordered.values_list("pk", flat=True)[start : start + limit])
    # A page that is not full is the last: what is before it is known.
    if len(ids) < limit and (ids or not start):
        return Page(ids, start + len(ids))
    return Page(ids, max(_count(people, account_id, term, blocked), start + len(ids) if ids else 0))


def _ordered(people: QuerySet[Persona], sort: str, descending: bool) -> QuerySet[Persona]:
    kind: DecimalField = DecimalField(max_digits=14, decimal_places=2)
    if sort == "points":
        people = people.annotate(listed_points=Coalesce(F("wallet__balance"), Value(Decimal(0)), output_field=kind))
    elif sort == "usedpoints":
        used = (
            Redemption.unscoped.filter(persona=OuterRef("pk")).order_by().values("persona")
            .annotate(points=Sum(F("points") - F("reverted_points"))).values("points")
        )  # fmt: skip
        people = people.annotate(listed_used=Coalesce(Subquery(used), Value(Decimal(0)), output_field=kind))
    elif sort == "source":
        platform = Source.unscoped.filter(persona=OuterRef("pk")).values("customer__origin__platform")
        people = people.annotate(listed_source=Coalesce(Subquery(platform.order_by("pk")[:1]), Value("")))
    by = _BY[sort]
    if by == "pk":
        return people.order_by("-pk" if descending else "pk")
    return people.order_by(f"-{by}", "-pk") if descending else people.order_by(by, "pk")


def _blocked(account_id: int) -> list[int]:
    phones = BlockedPhone.objects.filter(account_id=account_id).values("phone")
    return list(Persona.objects.filter(account_id=account_id, phone__in=phones).values_list("pk", flat=True))


def _count(people: QuerySet[Persona], account_id: int, term: str, blocked: list[int]) -> int:
    key = (account_id, " ".join(term.split()).casefold())
    now = time.monotonic()
    if (known := _remembered.get(key)) and now - known[0] < REMEMBERED_S:
        return known[1]
    total = people.order_by().count()
    if total >= REMEMBERED_FROM:
        if len(_remembered) > 1000:
            _remembered.clear()
        _remembered[key] = (now, total)
    return total


def _narrowed(people: QuerySet[Persona], account_id: int, region: str, term: str) -> QuerySet[Persona] | None:
    """Those whom all parts of the search mean; None: nobody can."""
    term = search.clean(term)
    names = [found for found in _QUOTED.findall(term) if found.strip()]
    words = _QUOTED.sub(" ", term).replace('"', " ").split()
    for name in names:
        whole = search.fold(name)
        # As the generated column has it: first name, a space, last name.
        people = people.filter(name_key__in=[whole, f"{whole} ", f" {whole}"])
    bare = []
    for word in words:
        flag = word.lower()
        if flag == "has:usedpoints":
            people = people.filter(Exists(Redemption.unscoped.filter(persona=OuterRef("pk"), points__gt=0)))
        elif flag in _FLAGS:
            if (condition := _FLAGS[flag]) is None:
                return None
            people = people.filter(condition)
        else:
            bare.append(word)
    if not bare:
        return people
    text = " ".join(bare)
    for prefix in _PREFIXES:
        if text.lower().startswith(prefix):
            text = text[len(prefix) :].strip()
            if prefix == "email:":
                return people.filter(email=email_of(text) or text.lower()) if text else people
            break
    return _meant(people, account_id, region, text) if text else people


def _meant(people: QuerySet[Persona], account_id: int, region: str, text: str) -> QuerySet[Persona] | None:
    """By a phone, an e-mail, a contact's or a POS record's id; else by the beginning of a name."""
    found = search.find(account_id=account_id, region=region, term=text)
    if found.condition is not None:
        return people.filter(found.condition)
    # A receipt's number names a sale; who looks for contacts does not mean it.
    roots = {hit.root_id or hit.persona_id for hit in found.hits if hit.persona_id and hit.by != "sale"}
    if roots:
        return people.filter(pk__in=sorted(roots))
    if found.hits and (condition := search.by_name(text)):
        return people.filter(condition)
    return None


# What is told

_TOLD = """
SELECT p.id, p.contact_id, x.external_id, x.platform, p.first_name, p.last_name, p.email, p.phone, t.number,
       p.member_from, p.created_at,
       coalesce(w.balance, 0) - coalesce((SELECT sum(l.remaining) FROM loyalty_lot l WHERE l.persona_id = p.id
                                          AND l.open AND l.expires_at <= %(now)s), 0),
       coalesce(sms.state, 'unknown'), sms.since, sms.asked_at, coalesce(mail.state, 'unknown'), mail.since,
       p.address, p.birth_date, p.last_seen_at
FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY a (id, place)
JOIN loyalty_persona p ON p.id = a.id AND p.account_id = %(account)s
LEFT JOIN loyalty_wallet w ON w.persona_id = p.id
LEFT JOIN stores_store t ON t.id = coalesce(p.favourite_store_id, p.usual_store_id)
LEFT JOIN LATERAL (
    SELECT c.external_id, o.platform FROM loyalty_persona g
    JOIN loyalty_source s ON s.persona_id = g.id JOIN integrations_customer c ON c.id = s.customer_id
    JOIN integrations_origin o ON o.id = c.origin_id
    WHERE (g.id = p.id OR g.merged_into_id = p.id) AND c.erased_at IS NULL
    ORDER BY c.merged_into <> '', c.modified_at DESC NULLS LAST, c.id DESC LIMIT 1) x ON true
LEFT JOIN loyalty_consentstate sms ON sms.account_id = p.account_id AND sms.channel = 'sms'
    AND sms.address = p.phone AND p.phone <> ''
LEFT JOIN loyalty_consentstate mail ON mail.account_id = p.account_id AND mail.channel = 'email'
    AND mail.address = p.email AND p.email <> ''
ORDER BY a.place
"""


def told(*, account_id: int, ids: Sequence[int], now: datetime) -> list[Contact]:
    """These roots, in this order, in one statement."""
    if not ids:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_TOLD, {"account": account_id, "ids": list(ids), "now": now})
        return [Contact(*row) for row in cursor.fetchall()]


def details(*, account_id: int, persona_id: int) -> Details:
    """What a root and its group have spent, refunds taken off, and what callers attached to them."""
    from .details import attributes_of

    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(sum(s.total_cents), 0) FROM loyalty_salestate st JOIN integrations_sale s
               ON s.id = st.sale_id WHERE st.persona_id = %s AND st.account_id = %s""",
            [persona_id, account_id],
        )
        spent = int(cursor.fetchone()[0])
    found = attributes_of(account_id=account_id, persona_id=persona_id)
    return Details(spent, [(one.parent, one.key, one.value, one.said_at) for one in found])


def of_source(*, account_id: int, platform: str, external_id: str) -> int | None:
    """The root of a POS's record. Where two companies of one platform bear the id, the latest edited answers."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(p.merged_into_id, p.id) FROM integrations_origin o
               JOIN integrations_customer c ON c.origin_id = o.id AND c.external_id IN (%(id)s, lower(%(id)s))
               JOIN loyalty_source s ON s.customer_id = c.id JOIN loyalty_persona p ON p.id = s.persona_id
               WHERE o.account_id = %(account)s AND lower(o.platform) = lower(%(platform)s) AND p.erased_at IS NULL
               ORDER BY c.modified_at DESC NULLS LAST, c.id DESC LIMIT 1""",
            {"account": account_id, "platform": platform, "id": external_id},
        )
        row = cursor.fetchone()
    return row[0] if row else None
