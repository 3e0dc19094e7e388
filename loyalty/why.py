"""Why are there no points, or these? One term in, one sentence out, and the one button that helps.

The checks go from the outside in: is anybody meant at all, who is it, is he a member, does this sale earn, was it
posted. The first that fails is the answer. Reads only; the page does what the button says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from aiqsync.accounts.models import Account
from aiqsync.accounts.templatetags.iq import points as plain_points
from integrations.models import Customer, Sale, SaleKind
from integrations.services import card as card_of
from integrations.services import is_placeholder, outside_market

from . import freshness, ledger, search, worth
from .models import BlockedPhone, Identifier, NumberDecision, Persona, SaleState, SuspectNumber

SALES_LOOKED_AT = 200  # of one persona, the newest
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Remedy:
    """What helps: `act` is done by the page when it may (`right`, of the role table), with these values.

    `asks`: what the person fills in (from_date, who, note). A `link` leads to a page instead: programme or persona.
    """

    act: str
    label: str
    right: str
    values: dict[str, str] = field(default_factory=dict)
    asks: tuple[str, ...] = ()
    day: date | None = None  # suggested for from_date


@dataclass(frozen=True, slots=True)
class Someone:
    name: str
    contact_id: UUID
    more: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """`branch` names the check that answered; tests and the page's colour read it."""

    branch: str
    sentence: str
    remedy: Remedy | None = None
    persona: Persona | None = None
    sale: Sale | None = None
    people: list[Someone] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.branch == "credited"


@dataclass(frozen=True, slots=True)
class _Asked:
    account: Account
    term: str
    now: datetime

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.account.timezone)

    def day(self, at: datetime) -> str:
        return _day(at.astimezone(self.zone).date())

    @property
    def today(self) -> date:
        return self.now.astimezone(self.zone).date()


def answer(*, account: Account, term: str, now: datetime) -> Answer | None:
    """For a phone, an e-mail, a receipt number, a contact id, a POS id or a name. None: nothing was asked."""
    asked = _Asked(account, search.clean(term), now)
    if not asked.term:
        return None
    found = search.find(account_id=account.pk, region=account.country, term=asked.term)
    if found.condition is not None:
        return _of_a_name(asked, found)
    if found.phone and (several := _of_a_shared_phone(asked, found.phone)):
        return several
    if found.suppressed:
        return _removed(asked, found)
    people = [hit for hit in found.hits if hit.persona_id and hit.by != "sale"]
    sales = [hit.sale_id for hit in found.hits if hit.by == "sale" and hit.sale_id]
    if not people and sales:
        return _of_a_sale(asked, _the_sale(sales))
    if not people:
        return _unknown(asked, found)
    if len(roots := {hit.root_id or hit.persona_id for hit in people}) > 1:
        return _choose(asked, Persona.objects.filter(pk__in=list(roots)[:100]).order_by("-id"))
    hit = people[0]
    if hit.erased_at:
        return _removed(asked)
    persona = Persona.objects.get(pk=hit.root_id or hit.persona_id)
    if persona.erased_at:
        return _removed(asked)
    if persona.archived_at:
        return _archived(asked, persona)
    if hit.root_id and hit in found.gone:
        return _merged(asked, hit, persona)
    return _of_a_persona(asked, persona)


# Nobody, several, or somebody who is no longer here


def _unknown(asked: _Asked, found: search.Found) -> Answer:
    """Not a word of it has been read: say how far we have read, since it may be on its way."""
    sync = Remedy("sync", "Read the POS now", "integrations.change")
    digits = "".join(c for c in asked.term if c.isdigit())
    if is_placeholder(digits):
        return Answer("unknown", "This number is one digit over and over: it is nobody's, and joins nobody.")
    if found.phone or found.email:
        what = "phone" if found.phone else "e-mail"
        if outside := _outside(asked, found):
            return outside
        return Answer(
            "unknown", f"Nobody here has this {what}, neither in the POS nor here. {_read('customers')}", sync
        )
    return Answer("not_read", f"No receipt and no customer {asked.term} has been read. {_read('sales')}", sync)


def _outside(asked: _Asked, found: search.Found) -> Answer | None:
    """The POS knows him, and the card's market leaves him out: told by digests, for nothing else is kept of him."""
    row = outside_market(account_id=asked.account.pk, phone=found.phone, email=found.email)
    if row is None:
        return None
    card = card_of(row.origin.platform)
    where = f"lives in {row.state}" if row.state else "has no state there"
    return Answer(
        "outside_market",
        f"{card.title} knows a customer with this {'phone' if found.phone else 'e-mail'}, who {where}: outside the "
        "market that is chosen on the card, so not imported. The purchases are kept and are joined when that changes.",
        Remedy("card", f"Open the settings of {card.title}", "integrations.view", {"card": card.slug}),
    )


def _read(*streams: str) -> str:
    """ "Sales are read up to 14:02 (Cova)." """
    parts = []
    for stream in streams:
        sources = freshness.read(stream)
        if not sources:
            return "No point of sale is connected."
        told = [f"{_clock(one.until)} ({one.source}{'' if one.live else ', not being read'})" for one in sources]
        parts.append(f"{stream.capitalize()} are read up to {', '.join(told)}.")
    return " ".join(parts)


def _clock(at: datetime | None) -> str:
    if at is None:
        return "no point yet"
    local = timezone.localtime(at)
    return f"{local:%H:%M}" if timezone.now() - at < timedelta(hours=12) else f"{local:%-d %b, %H:%M}"


def _of_a_name(asked: _Asked, found: search.Found) -> Answer:
    people = list(
        Persona.objects.filter(found.condition, merged_into=None, erased_at=None).order_by("-id")[: SHOWN + 1]
    )
    if not people and found.gone and (root := Persona.objects.filter(pk=found.gone[0].root_id or 0).first()):
        return _merged(asked, found.gone[0], root)
    if not people and any(c.isdigit() for c in asked.term):
        return _unknown(asked, found)
    if not people:
        return Answer(
            "unknown",
            f"No receipt, customer or name {asked.term} is known here. {_read('sales', 'customers')}",
            Remedy("sync", "Read the POS now", "integrations.change"),
        )
    if len(people) > 1:
        return _choose(asked, people)
    return _archived(asked, people[0]) if people[0].archived_at else _of_a_persona(asked, people[0])


def _choose(asked: _Asked, people) -> Answer:
    people = list(people)
    many = f"More than {SHOWN}" if len(people) > SHOWN else str(len(people))
    return Answer("several", f"{many} personas fit: which one is it?", people=[_one(p) for p in people[:SHOWN]])


def _one(persona: Persona) -> Someone:
    return Someone(str(persona), persona.contact_id, persona.email or ("member" if persona.is_member else ""))


def _of_a_shared_phone(asked: _Asked, phone: str) -> Answer | None:
    """A number that several bear identifies nobody: who bears it."""
    suspect = SuspectNumber.objects.filter(phone=phone).first()
    shared = Identifier.objects.filter(kind="phone", value=phone, shared=True).exists()
    decision = suspect.decision if suspect else NumberDecision.SHARED if shared else NumberDecision.ONE
    if decision == NumberDecision.ONE:
        return None
    bearers = Persona.objects.filter(phone=phone, merged_into=None, erased_at=None)
    people = list(bearers.order_by("-last_seen_at", "-id")[: SHOWN + 1])
    if decision == NumberDecision.FAKE:
        said = "This phone was marked as not a real number: it joins nobody."
    elif decision == NumberDecision.SHARED:
        said = "This phone is marked as shared: it identifies nobody."
    else:
        said = f"{suspect.customers} customers of the POS bear this phone: it joins nobody until somebody decides."
    who = f" {'More than ' if len(people) > SHOWN else ''}{min(len(people), SHOWN)} personas have it; choose one."
    return Answer("shared", said + (who if people else ""), people=[_one(p) for p in people[:SHOWN]])


def _removed(asked: _Asked, found: search.Found | None = None) -> Answer:
    """With the phone or the e-mail at hand an owner may let it be used again: numbers find new people."""
    remedy = None
    if found and (term := found.phone or found.email):
        what = "phone" if found.phone else "e-mail"
        remedy = Remedy("allow_again", f"Let this {what} be used again", "personas.erase", {"term": term})
    said = "This person was removed on request: nothing is kept, and the POS cannot bring it back."
    if remedy:
        said += " Whoever has it now, or came back, can be signed up once an owner allows it."
    return Answer("removed", said, remedy)


def _archived(asked: _Asked, persona: Persona) -> Answer:
    return Answer(
        "archived",
        f"{persona} was archived on {asked.day(persona.archived_at)}: left out of the lists; the wallet works on.",
        Remedy("unarchive", "Take back into the lists", "personas.change", {"contact": str(persona.contact_id)}),
        persona,
    )


def _merged(asked: _Asked, hit: search.Hit, root: Persona) -> Answer:
    when = f" on {asked.day(hit.merged_at)}" if hit.merged_at else ""
    why = f" {search.WHY_MERGED[hit.merged_why]}" if hit.merged_why in search.WHY_MERGED else ""
    return Answer(
        "merged",
        f"{hit.name or 'This record'} was merged into {root}{when}{why}: points and purchases are there.",
        Remedy("ask", f"Why, for {root}", "personas.view", {"term": str(root.contact_id)}),
        root,
    )


# A persona


def _of_a_persona(asked: _Asked, persona: Persona) -> Answer:
    if early := _not_earning(asked, persona):
        return early
    ids = list(
        SaleState.objects.filter(persona=persona)
        .order_by("-sale__sold_at")
        .values_list("sale_id", flat=True)[:SALES_LOOKED_AT]
    )
    worths = worth.of_sales(account_id=asked.account.pk, sale_ids=ids)
    if wrong := [one for one in worths if one.differs]:
        points = sum((one.points - one.posted for one in wrong), Decimal(0))
        return Answer(
            "differs",
            f"{_count(len(wrong), 'purchase')} of {persona} {'is' if len(wrong) == 1 else 'are'} worth something else "
            f"by today's rules than was posted: {_signed(points)} points.",
            _recompute(persona),
            persona,
        )
    bought = sorted((one for one in worths if one.why.get("why") != "refund"), key=lambda one: one.sold_at)
    nothing = bought and not any(one.points for one in bought)
    if nothing and (refused := _no_points(asked, persona, bought[-1], f"the latest purchase of {persona}")):
        return refused
    return Answer("credited", f"Everything is credited: {_balance(asked, persona)}", None, persona)


def _not_earning(asked: _Asked, persona: Persona) -> Answer | None:
    """Why nothing at all is earned by this persona."""
    if not persona.is_member:
        waits = worth.waiting(account_id=asked.account.pk, persona_id=persona.pk, now=asked.now)
        more = ""
        if waits.count:
            more = (
                f"; {'at least ' if waits.more else ''}{_count(waits.count, 'purchase')} worth about "
                f"{plain_points(waits.points)} points since {_day(waits.since)} "
                f"{'waits' if waits.count == 1 else 'wait'} for membership"
            )
            if waits.over:
                more += f"; {plain_points(waits.over)} of them are past their day and would expire at once"
        return Answer(
            "not_a_member",
            f"{persona} is known but not a member{more}.",
            Remedy(
                "enrol", "Enrol", "personas.change", {"contact": str(persona.contact_id)}, ("from_date",), asked.today
            ),
            persona,
        )
    # The whole group's, as earning and redeeming ask it.
    group = list(Persona.objects.filter(Q(pk=persona.pk) | Q(merged_into=persona)).values_list("pk", "phone"))
    known = Identifier.objects.filter(persona__in=[pk for pk, _ in group], kind="phone").values_list("value", flat=True)
    if blocked := BlockedPhone.objects.filter(phone__in={*known, *(phone for _, phone in group)} - {""}).first():
        who = f" ({blocked.note})" if blocked.note else ""
        return Answer(
            "blocklisted",
            f"The phone of {persona} is on the employee points blocklist{who}: nothing is earned or redeemed with it.",
            Remedy("programme", "Open the blocklist", "programme.view"),
            persona,
        )
    return None


def _recompute(persona: Persona) -> Remedy:
    return Remedy("recompute", "Recompute now", "personas.change", {"contact": str(persona.contact_id)})


def _no_points(asked: _Asked, persona: Persona, one: worth.Worth, name: str) -> Answer | None:
    """Why a sale that was read, is somebody's and is a member's is worth nothing. None: it is worth something."""
    code = one.why.get("why")
    name = _upper(name)
    if code == "before_start":
        return _before_start(asked, persona, one, name)
    if code == "voided":
        return Answer("refunded", f"{name} was refunded in full on the same day: it earns nothing.", None, persona)
    if one.points:
        return None
    if code == "programme_off":
        return Answer(
            "programme_off",
            f"{name} earned nothing: the loyalty programme is switched off.",
            Remedy("programme", "Open the loyalty settings", "programme.view"),
            persona,
        )
    if code == "earned" and one.why.get("refunded"):
        return Answer("refunded", f"{name} was refunded: its points were taken back.", None, persona)
    if code == "earned":
        return Answer("worth_nothing", f"{name} is worth 0 points: {_lower(one.sentence)}", None, persona)
    said = one.sentence or "a rule of the programme leaves it out."
    return Answer(
        "rule", f"{name} earned nothing: {_lower(said)}",
        Remedy("programme", "Open the loyalty settings", "programme.view"), persona,
    )  # fmt: skip


def _before_start(asked: _Asked, persona: Persona, one: worth.Worth, name: str) -> Answer:
    """Two days can be the reason, and each has its own cure."""
    day = one.sold_at.astimezone(asked.zone).date()
    if not name.endswith(_day(day)):  # a receipt's name has its day
        name = f"{name}, of {_day(day)},"
    if persona.member_from and day < persona.member_from:
        return Answer(
            "before_member",
            f"{name} lies before {persona}'s membership, which earns from {_day(persona.member_from)}.",
            Remedy(
                "enrol", "Let the membership earn from an earlier day", "personas.change",
                {"contact": str(persona.contact_id)}, ("from_date",), day,
            ),
            persona,
        )  # fmt: skip
    start = one.why.get("start", "")
    said = _day(date.fromisoformat(start)) if start else "the programme's start"
    return Answer(
        "before_accrual",
        f"{name} lies before the day from which customers earn points, {said}.",
        Remedy("programme", "Open the loyalty settings", "programme.view"),
        persona,
    )


_PARTS = (
    ("earned", ("earn", "boost")),
    ("spent", ("redeem", "reverse")),
    ("expired", ("expire",)),
    ("adjusted by hand", ("adjust",)),
    ("imported", ("import", "mirror")),
    ("by merging", ("merge",)),
)


def _balance(asked: _Asked, persona: Persona) -> str:
    """ "the balance is 120 because 300 were earned, 150 spent, 30 expired." """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT kind, sum(points) FROM loyalty_entry WHERE account_id = %s AND persona_id = %s GROUP BY kind",
            [asked.account.pk, persona.pk],
        )
        sums = dict(cursor.fetchall())
    told = []
    for word, kinds in _PARTS:
        points = sum((sums.get(kind, Decimal(0)) for kind in kinds), Decimal(0))
        if points:
            plain = word in ("earned", "spent", "expired") and (points > 0) == (word == "earned")
            told.append(f"{word} {plain_points(abs(points)) if plain else _signed(points)}")
    spendable = ledger.spendable_points(asked.account.pk, persona.pk, asked.now)
    due = sum(sums.values(), Decimal(0)) - spendable
    if due:
        told.append(f"past their day {plain_points(due)}")
    because = f" because: {', '.join(told)}" if told else "; nothing was earned or spent yet"
    return f"the balance of {persona} is {plain_points(spendable)}{because}."


# A sale


def _the_sale(ids: Sequence[int]) -> Sale:
    """Of several of one number (a sale and its refund, two stores) the newest sale."""
    sales = Sale.objects.filter(pk__in=list(ids)).select_related("location")
    return sorted(sales, key=lambda sale: (sale.kind == SaleKind.SALE, sale.sold_at))[-1]


def _of_a_sale(asked: _Asked, sale: Sale) -> Answer:
    if SaleState.objects.filter(sale=sale).exclude(persona__erased_at=None).exists():
        return _removed(asked)
    if sale.erased_at:
        return Answer(
            "source_erased",
            f"Receipt {sale} of {asked.day(sale.sold_at)} is of a source whose data was erased on "
            f"{asked.day(sale.erased_at)}: its points stay as they were, and nothing more is known of it.",
            None, None, sale,
        )  # fmt: skip
    name = f"receipt {sale} of {asked.day(sale.sold_at)}"
    if sale.kind == SaleKind.REFUND:
        original = Sale.objects.filter(origin=sale.origin_id, external_id=sale.original_id or None).first()
        of = f" of receipt {original}" if original else ""
        return Answer("refunded", f"{_upper(name)} is a refund{of}: it earns nothing itself.", None, None, sale)
    worths = worth.of_sales(account_id=asked.account.pk, sale_ids=[sale.pk])
    if not worths:
        return Answer("programme_off", "There is no loyalty programme yet: nothing earns.", None, None, sale)
    one = worths[0]
    if one.persona_id is None:
        return _of_nobodys_sale(asked, sale, name)
    persona = Persona.objects.get(pk=one.persona_id)
    if early := _not_earning(asked, persona):
        return early
    # What was posted comes first to its worth: only then is the reason of the worth the reason of the balance.
    if one.differs:
        return Answer(
            "differs",
            f"{_upper(name)} is worth {plain_points(one.points)} points by today's rules, and "
            f"{plain_points(one.posted)} were posted.",
            _recompute(persona), persona, sale,
        )  # fmt: skip
    if refused := _no_points(asked, persona, one, name):
        return refused
    return Answer(
        "credited",
        f"Everything is credited: {plain_points(one.posted)} points to {persona} for {name}, because "
        f"{_lower(one.sentence)}",
        None, persona, sale,
    )  # fmt: skip


def _of_nobodys_sale(asked: _Asked, sale: Sale, name: str) -> Answer:
    name = _upper(name)
    if sale.customer_id:
        known = Customer.objects.filter(origin=sale.origin_id, external_id=sale.customer_id).exists()
        if not known:
            return Answer(
                "customer_not_read",
                f"{name} is of the POS's customer {sale.customer_id}, who has not been read. {_read('customers')}",
                Remedy("sync", "Read the POS now", "integrations.change"), None, sale,
            )  # fmt: skip
        return Answer(
            "customer_not_read", f"{name} is of a customer of the POS who is no persona here (removed on request).",
            None, None, sale,
        )  # fmt: skip
    return Answer(
        "anonymous",
        f"{name} has no customer on it, so it earned nothing.",
        Remedy(
            "attach", "Attach this receipt once", "points.adjust", {"sale": str(sale.pk)}, ("who", "note"),
        ),
        None, sale,
    )  # fmt: skip


# Words


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _day(day: date | None) -> str:
    return f"{day:%-d %b %Y}" if day else ""


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _signed(points: Decimal) -> str:
    return f"{'+' if points > 0 else '−'}{plain_points(abs(points))}"
