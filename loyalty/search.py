"""Whom does this mean? One verb for the personas list and for Why?: a phone, an e-mail, a name, an id, a receipt.

Whole values by their index, names by their beginning; nothing is searched in the middle of a word. What was merged,
archived or erased is never just missing: it comes back with the sentence that says so.
"""

import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection
from django.db.models import Q

from integrations import suppression
from integrations.models import Origin
from integrations.services import e164, email_of

from .models import Persona
from .models.people import ACCENTED, PLAIN
from .people import contact_of, spellings

LONGEST = 200
MOST = 500  # a number shared by more people is looked at in the list of suspect numbers
_FOLD = str.maketrans(ACCENTED, PLAIN)

WHY_MERGED = {
    "phone": "because both bear the phone",
    "email": "because both bear the e-mail",
    "name_birth": "because name and birth date are the same",
    "government_id": "because both bear the same government id",
    "medical_id": "because both bear the same medical id",
    "pos": "because the POS merged the two records",
    "manual": "by hand",
}


@dataclass(frozen=True, slots=True)
class Hit:
    """A persona's row that bears the term. `by`: contact, alias, phone, email, name, record, sale."""

    by: str
    persona_id: int | None  # None: a sale that is nobody's
    contact_id: uuid.UUID | None
    name: str
    archived_at: datetime | None
    erased_at: datetime | None
    root_id: int | None  # the row it was merged into
    root_contact_id: uuid.UUID | None
    root_name: str
    merged_at: datetime | None
    merged_why: str
    sale_id: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """What a term means. `condition` is set when it is the beginning of a name: the list then filters by it."""

    term: str
    hits: list[Hit] = field(default_factory=list)
    condition: Q | None = None
    suppressed: bool = False  # somebody of this phone, e-mail or record was removed on request
    phone: str = ""
    email: str = ""

    @property
    def roots(self) -> list[int]:
        """The personas to show: those that bear the term, merges followed; neither archived nor erased ones' own."""
        return sorted({hit.root_id or hit.persona_id for hit in self.hits if hit.persona_id})

    @property
    def gone(self) -> list[Hit]:
        """Rows that bear the term and are no longer listed themselves, unless the row that took them over bears it."""
        shown = {hit.persona_id for hit in self.hits if hit.root_id is None and not hit.archived_at}
        return [
            hit
            for hit in self.hits
            if hit.persona_id
            and (hit.archived_at or hit.erased_at or hit.root_id)
            and (hit.erased_at or hit.archived_at or hit.root_id not in shown)
        ]


def fold(text: str) -> str:
    """A name as the database's generated columns have it: lower case, without accents, one space between words."""
    return " ".join(unicodedata.normalize("NFC", text).lower().translate(_FOLD).split())


def clean(term: str) -> str:
    return " ".join(term.replace("\x00", "").split())[:LONGEST]


def find(*, account_id: int, region: str, term: str) -> Found:
    """What the term means in this account. One statement for a whole value, one or two more for a name; where nobody
    bears it, one more asks whether somebody did who was removed on request.

    A term that could be several things (a number is a phone, a POS's record, a receipt) is looked up as all of them.
    """
    term = clean(term)
    if term.lower().startswith("merge:"):
        found = find(account_id=account_id, region=region, term=term[6:])
        return Found(term, [hit for hit in found.hits if hit.root_id], suppressed=found.suppressed)
    if not term:
        return Found(term)
    if contact := contact_of(term):
        # The records of some POS (Cova's) are known by such an id too; landing keeps them in small letters.
        number = str(contact)
        hits = _look(account_id, contact=contact, number=number)
        removed = not hits and _removed(account_id, _meant(account_id, "", number))
        return Found(term, hits, suppressed=removed)
    if "@" in term:
        email = email_of(term) or term.lower()
        hits = _look(account_id, email=email)
        removed = not hits and _removed(account_id, [(suppression.EMAIL, email)])
        return Found(term, hits, suppressed=removed, email=email)
    phone = e164(term, region)
    number = term.lstrip("#").strip()
    hits = _look(account_id, phone=phone, number=number)
    removed = not hits and _removed(account_id, _meant(account_id, phone, number))
    if hits or phone or removed:
        return Found(term, hits, suppressed=removed, phone=phone)
    return Found(term, _gone_by_name(account_id, term), condition=by_name(term))


GONE_BY_NAME = 5


def _gone_by_name(account_id: int, term: str) -> list[Hit]:
    """Those of this name whom the lists leave out: merged, or archived. Two letters are too little to look for them."""
    condition = by_name(term)
    if condition is None or len(fold(term)) < 3:
        return []
    left_out = Q(merged_into__isnull=False) | Q(archived_at__isnull=False)
    people = Persona.unscoped.filter(condition, left_out, account_id=account_id, erased_at=None)
    # Who took them over is found by the same name mostly: then nobody is missing.
    ids = list(people.exclude(by_name(term, of="merged_into__")).values_list("pk", flat=True)[:GONE_BY_NAME])
    return _look(account_id, ids=ids) if ids else []


def by_name(term: str, *, of: str = "") -> Q | None:
    """The beginning of a name, first or last name first; None when nothing of the term can begin a name."""
    words = fold(term.replace(",", " "))
    if not words:
        return None
    name, surname = f"{of}name_key__startswith", f"{of}surname_key__startswith"
    found = Q(**{name: words}) | Q(**{surname: words})
    first, _, rest = words.partition(" ")
    if rest:
        # "ad mo", the beginnings of both: each condition alone has its index, so the two meet in a bitmap.
        found |= Q(**{name: first, surname: rest}) | Q(**{name: rest, surname: first})
    return found


_CONTACT = """SELECT p.id, 'contact' AS by, NULL::bigint AS sale FROM loyalty_persona p
              WHERE p.account_id = %(account)s AND p.contact_id = %(contact)s"""
# What another loyalty service called somebody is a contact id as well.
_ALIAS = """SELECT a.persona_id AS id, 'alias' AS by, NULL::bigint AS sale FROM loyalty_contactalias a
            WHERE a.account_id = %(account)s AND a.alias = ANY(%(aliases)s)"""
_NAMED = """SELECT p.id, 'name' AS by, NULL::bigint AS sale FROM loyalty_persona p
            WHERE p.account_id = %(account)s AND p.id = ANY(%(ids)s)"""
_IDENTIFIER = """SELECT i.persona_id AS id, '{0}' AS by, NULL::bigint AS sale FROM loyalty_identifier i
                 WHERE i.account_id = %(account)s AND i.kind = '{0}' AND i.value = %({0})s
                 UNION SELECT p.id, '{0}', NULL FROM loyalty_persona p
                 WHERE p.account_id = %(account)s AND p.{0} = %({0})s"""
_RECORD = """SELECT s.persona_id AS id, 'record' AS by, NULL::bigint AS sale FROM integrations_origin o
             JOIN integrations_customer c ON c.origin_id = o.id AND c.external_id = %(number)s
             JOIN loyalty_source s ON s.customer_id = c.id WHERE o.account_id = %(account)s"""
# Exact, and once more in capitals: a receipt is typed as it is read aloud.
_SALE = """SELECT st.persona_id AS id, 'sale' AS by, s.id AS sale FROM (
               SELECT n.id FROM integrations_sale n
               WHERE n.account_id = %(account)s AND n.number IN (%(number)s, upper(%(number)s))
               UNION SELECT r.id FROM integrations_sale r
               WHERE r.account_id = %(account)s AND r.receipt IN (%(number)s, upper(%(number)s)) AND r.receipt <> ''
           ) s LEFT JOIN loyalty_salestate st ON st.sale_id = s.id"""
_HITS = f"""
SELECT hit.by, p.id, p.contact_id, coalesce(nullif(trim(concat(p.first_name, ' ', p.last_name)), ''), p.phone, ''),
       p.archived_at, p.erased_at, root.id, root.contact_id,
       coalesce(nullif(trim(concat(root.first_name, ' ', root.last_name)), ''), root.phone, ''),
       m.at, coalesce(m.why, ''), hit.sale
FROM ({{}}) hit
LEFT JOIN loyalty_persona p ON p.id = hit.id
LEFT JOIN loyalty_persona root ON root.id = p.merged_into_id
LEFT JOIN loyalty_merge m ON m.loser_id = p.id AND m.split_at IS NULL
ORDER BY hit.by = 'sale', hit.sale DESC, p.id DESC LIMIT {MOST}
"""


def _look(
    account_id: int, *, contact: uuid.UUID | None = None, phone="", email="", number="", ids: Sequence[int] = ()
) -> list[Hit]:
    """Only the branches that are asked for are sent: each is one look into one index."""
    asked = {"account": account_id, "contact": contact, "phone": phone, "email": email, "number": number, "ids": ids,
             "aliases": spellings(number)}  # fmt: skip
    branches = [_CONTACT] if contact else []
    branches += [_NAMED] if ids else []
    branches += [_IDENTIFIER.format(kind) for kind in ("phone", "email") if asked[kind]]
    if number:
        branches += [_ALIAS, _RECORD, _SALE]
    with connection.cursor() as cursor:
        cursor.execute(_HITS.format(" UNION ".join(branches)), asked)
        return [Hit(*row) for row in cursor.fetchall()]


def _removed(account_id: int, known: Iterable[tuple[str, str]]) -> bool:
    """Whether somebody of this asked to be forgotten: all that is kept are keyed digests."""
    return bool(suppression.listed(account_id=account_id, known=known))


def _meant(account_id: int, phone: str, number: str) -> Iterator[tuple[str, str]]:
    """A phone, and what a word may be in each POS (ids need no digit); read only where somebody was removed."""
    yield suppression.PHONE, phone
    one_word = number and " " not in number
    for origin in Origin.unscoped.filter(account_id=account_id).values_list("pk", flat=True) if one_word else ():
        yield suppression.SOURCE, suppression.source_value(origin, number)
