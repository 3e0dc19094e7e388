"""What a sale earns. A state, not an event: the target follows from the sale's net state and the programme.

`target` is pure. Everything that moves a sale's worth (an edit, a void, a late owner, an enrolment) ends in
`settle_sales`, which posts the difference between the target and what was posted before.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any

from django.db import connection, transaction

from . import expiry, facts, ledger, mirror, rules
from .facts import SaleFacts
from .rules import Mod, Rules

__all__ = [
    "Rules", "SaleFacts", "Worth", "boosts_of", "gifts_of", "out_of_date", "rounded", "rules_of", "sales_of",
    "sentence", "settle_audience_boosts", "settle_personas", "settle_sales", "target", "targets", "targets_of_personas",
]  # fmt: skip

_CENT = Decimal("0.01")


def rounded(points: Decimal, rounding: str) -> Decimal:
    """Points by the programme's rounding: once, after everything else, half away from zero."""
    match rounding:
        case "nearest":
            return points.quantize(Decimal(1), ROUND_HALF_UP)
        case "up":
            return points.quantize(Decimal(1), ROUND_CEILING)
        case "down":
            return points.quantize(Decimal(1), ROUND_FLOOR)
        case _:
            return points.quantize(_CENT, ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Worth:
    """What a sale is worth now: points, the money they are counted on, and the explanation as data (see `sentence`)."""

    points: Decimal
    base_cents: int
    why: dict[str, Any]
    boosts: tuple[Mod, ...] = ()  # those it qualifies for


def target(sale: SaleFacts, rules: Rules) -> tuple[Decimal, int, dict[str, Any]]:
    """Points, base in cents, explanation."""
    worth = worth_of(sale, rules)
    return worth.points, worth.base_cents, worth.why


def worth_of(sale: SaleFacts, rules: Rules) -> Worth:
    """Pure: the same facts and rules are worth the same, whenever they are asked."""
    if sale.is_mirrored and sale.kind == "sale" and sale.persona_id is not None:
        # What was earned before stays posted, and was overwritten with the rest of the balance. Neither a refund nor a
        # recompute moves it: the POS's own programme does that.
        kept = sale.posted if sale.before == sale.persona_id else Decimal(0)
        return Worth(kept, 0, {"why": "mirrored"})
    if nothing := _no_points(sale, rules):
        return Worth(Decimal(0), 0, nothing)
    day = sale.sold_at.astimezone(rules.zone).date()
    before_tax = rules.exclude_tax and (rules.exclude_tax_from is None or day >= rules.exclude_tax_from)
    paid = sale.net_cents + (0 if before_tax else sale.tax_cents)
    refunded = sale.refunded_net_cents + (0 if before_tax else sale.refunded_tax_cents)
    taken = 0
    if rules.refunds == "reverse" or sale.refunds_count or (rules.refunds == "reverse_full" and refunded >= paid):
        taken = max(min(refunded, paid), 0)
    base = max(paid - taken, 0)
    why: dict[str, Any] = {"why": "earned", "base": base, "rate": f"{rules.points_per_100.normalize():f}"}
    if not before_tax:
        why["tax"] = True
    if taken:
        why["refunded"] = taken
    if taken:  # what came back is not there for modifiers and boosts either; otherwise every line counts in full
        sale = replace(sale, lines=tuple(_left(sale.lines)))
    weighted, names = _modified(sale, rules, base)
    exact = weighted * rules.points_per_100 / 10_000
    if names:
        why["modifiers"] = names
    if rules.points_per_order and base > 0 and not _whole_zero(sale, rules):
        if rules.max_visits is None or 0 < sale.visit <= rules.max_visits:
            exact += rules.points_per_order
            why["order"] = f"{rules.points_per_order.normalize():f}"
        else:
            why["visits"] = rules.max_visits
    points = rounded(exact, rules.rounding)
    if points != exact:  # every figure the sentence needs: a budtender can count it again
        why["exact"] = f"{exact.normalize():f}"
        why["rounding"] = rules.rounding
    fits = tuple(boost for boost in rules.boosts if base > 0 and _fits(sale, boost, rules))
    return Worth(points, base, why, fits)


def _left(lines: tuple[facts.Line, ...]) -> list[facts.Line]:
    """The lines less what was refunded of them; money that came back for goods that stayed leaves them."""
    left = [replace(line, cents=line.cents - line.refunded) for line in lines]
    return left if any(line.cents > 0 for line in left) else list(lines)


def _no_points(sale: SaleFacts, rules: Rules) -> dict[str, Any] | None:
    """Why the sale earns nothing at all, if it does."""
    if sale.kind != "sale":
        return {"why": "refund"}
    if sale.undoes_refund:
        return {"why": "undoes_refund"}
    if sale.persona_id is None:
        return {"why": "no_customer"}
    if sale.member_from is None:
        return {"why": "not_a_member"}
    begins = rules.starts.get(sale.origin_id, rules.accrual_start)
    start = max(sale.member_from, begins or sale.member_from)
    if sale.sold_at.astimezone(rules.zone).date() < start:
        return {"why": "before_start", "start": start.isoformat()}
    if sale.voided(rules.zone):
        return {"why": "voided"}
    if not rules.enabled and not sale.posted:
        return {"why": "programme_off"}
    if sale.is_blocked:
        return {"why": "blocked"}
    if rules.earning_types != "all" and (sale.customer_type or "recreational") != rules.earning_types:
        return {"why": "type", "type": rules.earning_types}
    if rules.opt_in_needed != "none":
        wanted = {"sms", "email"} if rules.opt_in_needed == "any" else {rules.opt_in_needed}
        if not wanted & sale.opted_in:
            return {"why": "opt_in", "channel": rules.opt_in_needed}
    return None


def _fits(sale: SaleFacts, mod: Mod, rules: Rules) -> bool:
    """Whether a modifier's conditions about the sale hold; those about products are asked line by line."""
    day = sale.sold_at.astimezone(rules.zone).date()
    if (mod.starts_on and day < mod.starts_on) or (mod.ends_on and day > mod.ends_on):
        return False
    if mod.audience_id and mod.audience_id not in sale.stays:
        return False
    if mod.stores and sale.store_id not in mod.stores:
        return False
    if mod.weekdays or mod.from_hour or mod.to_hour:
        there = sale.sold_at.astimezone(rules.zones.get(sale.store_id or 0, rules.zone))
        if mod.weekdays and there.weekday() not in mod.weekdays:
            return False
        if not _in_hours(there.time(), mod):
            return False
    # A line that was refunded is none; a free one is.
    return not mod.by_line or any(_takes(mod, line) and (line.cents or not line.refunded) for line in sale.lines)


def _in_hours(at: Any, mod: Mod) -> bool:
    """From until, the end excluded; a span over midnight holds on both sides of it."""
    if mod.from_hour and mod.to_hour and mod.from_hour >= mod.to_hour:
        return at >= mod.from_hour or at < mod.to_hour
    until_midnight = mod.to_hour == time.min  # the end of the day, not its beginning
    return (not mod.from_hour or at >= mod.from_hour) and (not mod.to_hour or until_midnight or at < mod.to_hour)


def _takes(mod: Mod, line: facts.Line) -> bool:
    """Of each kind of product condition that is set, one must hold."""
    return (
        (not mod.brands or line.brand in mod.brands)
        and (not mod.categories or _within(line.category, mod.categories))
        and (not mod.skus or line.sku in mod.skus)
    )


def _within(category: str, chosen: frozenset[str]) -> bool:
    """A POS writes a category with those above it, "accessories > glass": who chose accessories meant glass too."""
    while category:
        if category in chosen:
            return True
        category = category.rpartition(">")[0].rstrip()
    return False


def _whole_zero(sale: SaleFacts, rules: Rules) -> bool:
    return any(one.kind == "zero" and not one.by_line and _fits(sale, one, rules) for one in rules.modifiers)


def _modified(sale: SaleFacts, rules: Rules, base: int) -> tuple[Decimal, list[dict[str, Any]]]:
    """The base with each cent counted by its modifier, in cents, and which modifiers count on how much of it.

    On one line zero wins over every multiplier, else the largest multiplier counts; they do not multiply each other.
    """
    fitting = [one for one in rules.modifiers if _fits(sale, one, rules)]
    if not fitting or base <= 0:
        return Decimal(base), []
    shares = apportion(base, [line.cents for line in sale.lines]) if any(one.by_line for one in fitting) else [base]
    weighted, counted = Decimal(0), dict.fromkeys(fitting, 0)
    for place, share in enumerate(shares):
        mine = [one for one in fitting if not one.by_line or _takes(one, sale.lines[place])]
        best = max(mine, key=lambda one: (one.kind == "zero", one.factor, -one.id), default=None)
        if best is None:
            weighted += share
            continue
        counted[best] += share
        weighted += Decimal(0) if best.kind == "zero" else share * best.factor
    names = [
        {"name": one.name, "factor": "0" if one.kind == "zero" else f"{one.factor.normalize():f}", "cents": cents}
        for one, cents in counted.items()
        if cents
    ]
    return weighted, names


def apportion(total: int, weights: list[int]) -> list[int]:
    """`total` cents over lines by weight, summing up exactly, largest remainders first; returned lines bear none."""
    weights = [max(weight, 0) for weight in weights]
    whole = sum(weights)
    if not whole:
        return [total] + [0] * (len(weights) - 1) if weights else [total]
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda place: (-(total * weights[place] % whole), place))
    for place in by_remainder[: total - sum(shares)]:
        shares[place] += 1
    return shares


_WHY = {
    "refund": "A refund earns nothing.",
    "undoes_refund": "It takes a refund back; the first sale earns again.",
    "no_customer": "No customer was on the sale.",
    "not_a_member": "The shopper is not a member.",
    "voided": "The sale was refunded in full the same day.",
    "programme_off": "The programme was switched off.",
    "blocked": "The phone is on the employee points blocklist.",
    "split": "Moved back when a merge was taken back.",
    "forward": "Points given back went on to where this person's points are.",
    "collect": "Taken for points that could not be taken back before.",
    "uncollect": "Given back with its redemption: it had been taken for what was missing.",
    "unexpired": "Had expired, and is taken as what it came with is worth less now: counted back first.",
    "erased": "Removed on request: the points were forfeited.",
    "mirrored": "The POS's own programme counts it; its points are in the balance the POS tells.",
    "mirror_rest": "Replaced by the balance of the POS's own programme.",
    "imported": "The balance of the POS's own programme, taken over once.",
    "settled_again": "The sale came late, with the discount: the points are taken after all.",
}
_ROUNDED = {"up": "rounded up", "down": "rounded down", "nearest": "rounded", "off": "rounded to two decimals"}
_CHANNELS = {"sms": "texts", "email": "e-mail", "any": "texts or e-mail"}


def sentence(explanation: dict[str, Any]) -> str:
    """The explanation as a budtender can read it aloud."""
    why = explanation.get("why", "")
    if explanation.get("owner") == "changed":
        return "The sale turned out to be another customer's: its points went there."
    match why:
        case "before_start":
            return f"Sales before {date.fromisoformat(explanation['start']):%-d %b %Y} earn nothing."
        case "type":
            return f"Only {explanation['type']} shoppers earn."
        case "opt_in":
            return f"Only shoppers who have opted in to {_CHANNELS[explanation['channel']]} earn; this one had not."
        case "merge":
            ours, theirs = (_plain(Decimal(str(explanation[name]))) for name in ("survivor", "loser"))
            return f"Two records became one: {ours} points here and {theirs} points there."
        case "mirror":
            return f"The POS says {_plain(Decimal(str(explanation['pos'])))} points."
        case "boost":
            refused = explanation.get("refused")
            more = f" {_plain(Decimal(str(refused)))} more were not there." if refused else ""
            back = ", taken back: the purchase it came with no longer earns it" if explanation.get("back") else ""
            return f"{explanation['name']}{back}.{more}"
        case "earned":
            return _earned(explanation)
    return _WHY.get(why, "")


def points_said(explanation: dict[str, Any]) -> Decimal | None:
    """The points that the figures of an explanation add up to: what the sale was worth then. None: it has no figures.

    The same sum that a budtender does who reads the sentence with a pocket calculator.
    """
    if explanation.get("why") != "earned":
        return None
    modifiers = explanation.get("modifiers", ())
    plain = explanation["base"] - sum(one["cents"] for one in modifiers)
    weighted = plain + sum((one["cents"] * Decimal(one["factor"]) for one in modifiers), Decimal(0))
    exact = weighted * Decimal(explanation["rate"]) / 10_000 + Decimal(explanation.get("order", 0))
    return rounded(exact, explanation.get("rounding", "off"))


def _earned(explanation: dict[str, Any]) -> str:
    rate = Decimal(explanation["rate"])
    if not explanation["base"]:
        taken = explanation.get("refunded")
        return f"All of its {_money(taken)} was refunded." if taken else "Nothing was paid for it."
    tax = "with" if explanation.get("tax") else "before"
    text = f"{_money(explanation['base'])} {tax} tax, {rate:f} points per $100"
    if explanation.get("refunded"):
        text += f", {_money(explanation['refunded'])} refunded left out"
    for one in explanation.get("modifiers", ()):
        times = "no points" if one["factor"] == "0" else f"{one['factor']} times"
        text += f", {one['name']}: {times} on {_money(one['cents'])}"
    if explanation.get("order"):
        text += f", {Decimal(explanation['order']):f} points for the visit"
    if explanation.get("visits"):
        text += f", no more points for visits on this day ({explanation['visits']} at most)"
    if explanation.get("rounding"):
        word = _ROUNDED[explanation["rounding"]]
        text += f", {word} from {Decimal(explanation['exact']).normalize():f}"
    return text + "."


def _money(cents: int) -> str:
    return f"${cents / 100:,.2f}"


def _plain(points: Decimal) -> str:
    return f"{points:.0f}" if points == points.to_integral_value() else f"{points:.2f}"


rules_of = rules.of


def targets(
    *, account_id: int, sale_ids: Sequence[int], rules: Rules
) -> list[tuple[SaleFacts, ledger.SaleTarget, Worth]]:
    """What these sales are worth by these rules, without posting; with the siblings whose worth depends on them."""
    return judge(facts.read(account_id, sale_ids, rules), rules)


def judge(found: list[SaleFacts], rules: Rules) -> list[tuple[SaleFacts, ledger.SaleTarget, Worth]]:
    """Pure: each of these sales with what it is worth among the others."""
    if rules.counts_visits:
        paid = {sale.sale_id for sale in found if worth_of(sale, rules).base_cents > 0}
        found = facts.number_visits(found, rules.zone, paid)
    return [(sale, *_as_target(sale, rules)) for sale in found]


def targets_of_personas(
    *, account_id: int, persona_ids: Sequence[int], rules: Rules, joining: Mapping[int, date] | None = None
) -> list[tuple[SaleFacts, ledger.SaleTarget, Worth]]:
    """The same for all sales of these personas and of those merged into them.

    `joining`: personas judged as if they were members from that day.
    """
    found = facts.read(account_id, sales_of(account_id, persona_ids), rules)
    if joining:
        found = [replace(sale, member_from=joining.get(sale.persona_id or 0, sale.member_from)) for sale in found]
    return judge(found, rules)


def _as_target(sale: SaleFacts, rules: Rules) -> tuple[ledger.SaleTarget, Worth]:
    worth = worth_of(sale, rules)
    expires = None
    # By the legacy engine it ends with the others of its persona, by the latest purchase: see `settle_sales`.
    if rules.expire_days and rules.engine == "fifo" and worth.points > 0:
        day = sale.sold_at.astimezone(rules.zone).date()
        expires = expiry.expires_at(rules, kind="earn", day=day, last_day=None)
    goal = ledger.SaleTarget(
        sale_id=sale.sale_id,
        persona_id=sale.persona_id,
        target=worth.points,
        base_cents=worth.base_cents,
        explanation=worth.why,
        expires_at=expires,
        cause_at=sale.sold_at,
    )
    return goal, worth


def settle_sales(
    *,
    account_id: int,
    sale_ids: Sequence[int],
    now: datetime,
    gifts_to: Sequence[int] = (),
    current: Rules | None = None,
) -> int:
    """Bring these sales' points to their targets, and the boosts that come with them. Returns how many were posted.

    `gifts_to`: personas who are given what their audiences bring, under the same locks. `current`: rules read already.
    """
    current = current or rules.of(account_id)
    if current is None or not (sale_ids or gifts_to):
        return 0
    worths = targets(account_id=account_id, sale_ids=sale_ids, rules=current) if sale_ids else []
    asked = boosts_of(account_id=account_id, worths=worths, current=current, now=now)
    asked += gifts_of(account_id=account_id, current=current, now=now, persona_ids=gifts_to) if gifts_to else []
    if not worths and not asked:
        return 0
    legacy = current.engine == "legacy" and current.expire_days
    with transaction.atomic() if legacy or current.mirrored else nullcontext():
        # One call: the ledger locks in one order, which two calls in one transaction would break.
        posted = ledger.settle_sales(
            account_id=account_id, targets=[goal for _, goal, _ in worths], now=now, boosts=asked
        ).entries
        if legacy:
            # Any purchase counts, also one that earns nothing: the clock starts again for all that is there.
            bought = sorted({sale.persona_id for sale, _, _ in worths if sale.persona_id and sale.kind == "sale"})
            expiry.rewrite(account_id=account_id, persona_ids=bought, rules=current, now=now)
        if current.mirrored and posted:  # a sale that changed hands took from a balance that is the POS's
            touched = {one for sale, _, _ in worths for one in (sale.persona_id, sale.before) if one}
            mirror.settle(account_id=account_id, persona_ids=sorted(touched), now=now)
    return posted


def boosts_of(
    *, account_id: int, worths: list[tuple[SaleFacts, ledger.SaleTarget, Worth]], current: Rules, now: datetime
) -> list[ledger.BoostTarget]:
    """The boosts these sales give, each with the first purchase that fits; and those their sale no longer deserves."""
    if not current.boosts or not worths:
        return []
    asked: list[ledger.BoostTarget] = []
    deserving = {(boost.id, sale.sale_id) for sale, _, worth in worths for boost in worth.boosts}
    owners = {sale.sale_id: sale.persona_id for sale, _, _ in worths}
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT b.modifier_id, coalesce(p.merged_into_id, p.id), b.sale_id FROM loyalty_booststate b
               JOIN loyalty_persona p ON p.id = b.persona_id
               WHERE b.account_id = %s AND b.sale_id = ANY(%s) AND b.posts %% 2 = 1""",
            [account_id, sorted(owners)],
        )
        held = cursor.fetchall()
    live = {boost.id: boost for boost in current.boosts}
    theirs = {sale.sale_id for sale, _, _ in worths if sale.is_mirrored}  # overwritten: there is nothing to take back
    sold = {sale.sale_id: sale.sold_at for sale, _, _ in worths}
    gone: set[int] = set()
    for modifier, persona, sale_id in held:
        # A boost that was switched off since stays with whoever has it.
        if (
            modifier in live
            and sale_id not in theirs
            and ((modifier, sale_id) not in deserving or owners[sale_id] != persona)
        ):
            gone.add(persona)
            why = {"why": "boost", "name": live[modifier].name, "back": True}
            asked.append(ledger.BoostTarget(modifier, persona, sale_id, Decimal(0), why, None, sold[sale_id]))
    if gone:  # another purchase of theirs may deserve what this one no longer does
        others = sorted(set(sales_of(account_id, sorted(gone))) - owners.keys())
        worths = [*worths, *targets(account_id=account_id, sale_ids=others, rules=current)]
    first: dict[tuple[int, int], SaleFacts] = {}
    for sale, _, worth in sorted(worths, key=lambda one: (one[0].sold_at, one[0].sale_id)):
        for boost in worth.boosts:
            if sale.persona_id:
                first.setdefault((boost.id, sale.persona_id), sale)
    ends = _gift_ends(current, now)
    for (modifier, persona), sale in first.items():
        why = {"why": "boost", "name": live[modifier].name}
        asked.append(
            ledger.BoostTarget(modifier, persona, sale.sale_id, live[modifier].points, why, ends, sale.sold_at)
        )
    return asked


def gifts_of(
    *, account_id: int, current: Rules, now: datetime, persona_ids: Sequence[int] | None = None
) -> list[ledger.BoostTarget]:
    """The boosts of audiences that members in them have not had; of these personas, or of everybody."""
    today = now.astimezone(current.zone).date()
    due = [
        one
        for one in current.gifts
        if (one.starts_on is None or one.starts_on <= today) and (one.ends_on is None or one.ends_on >= today)
    ]
    if not due or not current.enabled:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT m.id, r.id
               FROM unnest(%(modifiers)s::bigint[], %(audiences)s::bigint[]) m (id, audience)
               JOIN loyalty_audiencemember a ON a.audience_id = m.audience AND a.left_at IS NULL
               JOIN loyalty_persona p ON p.id = a.persona_id
               JOIN loyalty_persona r ON r.id = coalesce(p.merged_into_id, p.id) AND r.member_from <= %(today)s
                    AND r.erased_at IS NULL
                    AND NOT (%(mirrored)s AND loyalty_is_mirrored(
                        a.account_id, ARRAY(SELECT id FROM loyalty_persona WHERE merged_into_id = r.id) || r.id))
                    AND NOT EXISTS (  -- by the rules that are asked about, which a dry run has and the tables have not
                        SELECT FROM loyalty_persona g WHERE (g.id = r.id OR g.merged_into_id = r.id)
                        AND (g.phone = ANY(%(blocked)s) OR EXISTS (
                            SELECT FROM loyalty_identifier i
                            WHERE i.persona_id = g.id AND i.kind = 'phone' AND i.value = ANY(%(blocked)s))))
               WHERE a.account_id = %(account)s AND (%(ids)s::bigint[] IS NULL OR r.id = ANY(%(ids)s))
                 AND NOT EXISTS (SELECT FROM loyalty_booststate b JOIN loyalty_persona x ON x.id = b.persona_id
                                 WHERE b.modifier_id = m.id AND b.posts %% 2 = 1
                                   AND coalesce(x.merged_into_id, x.id) = r.id)
               ORDER BY 2, 1""",
            {
                "account": account_id,
                "today": today,
                "modifiers": [one.id for one in due],
                "audiences": [one.audience_id for one in due],
                "ids": None if persona_ids is None else list(persona_ids),
                "blocked": sorted(current.blocked),
                "mirrored": current.mirrored,
            },
        )
        rows = cursor.fetchall()
    by_id = {one.id: one for one in due}
    ends = _gift_ends(current, now)
    return [
        ledger.BoostTarget(
            modifier, persona, None, by_id[modifier].points, {"why": "boost", "name": by_id[modifier].name}, ends, now
        )
        for modifier, persona in rows
    ]


def _gift_ends(current: Rules, now: datetime) -> datetime | None:
    """A boost's clock starts on the day it is posted (decisions: expiry), as `expiry.rewrite` counts it too."""
    return expiry.expires_at(current, kind="boost", day=now.astimezone(current.zone).date(), last_day=None)


GIFTS_A_CALL = 500


def settle_audience_boosts(*, account_id: int, now: datetime) -> int:
    """Give the boosts of audiences to the members who are in them and have not had them. Returns how many entries."""
    current = rules.of(account_id)
    gifts = gifts_of(account_id=account_id, current=current, now=now) if current else []
    return sum(
        ledger.settle_sales(
            account_id=account_id, targets=[], boosts=gifts[start : start + GIFTS_A_CALL], now=now
        ).entries
        for start in range(0, len(gifts), GIFTS_A_CALL)
    )


def settle_personas(*, account_id: int, persona_ids: Sequence[int], now: datetime, gifts: bool = False) -> int:
    """Bring all sales of these personas to their targets: after an enrolment, a new source, a merge, a recompute.

    `gifts`: with what their audiences bring, as a change of the programme counts it.
    """
    sale_ids = sales_of(account_id, persona_ids)
    current = rules.of(account_id)
    if current is None:
        return 0
    posted = settle_sales(
        account_id=account_id, sale_ids=sale_ids, now=now, gifts_to=persona_ids if gifts else (), current=current
    )
    # Whose records moved, and who became a member just now, is owed what the POS said of them, too.
    if current.mirrored or current.imports:
        posted += mirror.follow(account_id=account_id, persona_ids=persona_ids, current=current, now=now)
    return posted


def sales_of(account_id: int, persona_ids: Sequence[int]) -> list[int]:
    """Sales of these personas and of those merged into them: by their records, by receipts, and as settled last."""
    if not persona_ids:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH g AS (SELECT id FROM loyalty_persona
                          WHERE account_id = %(account)s AND (id = ANY(%(ids)s) OR merged_into_id = ANY(%(ids)s)))
               SELECT s.id FROM g JOIN loyalty_source src ON src.persona_id = g.id
               JOIN integrations_customer c ON c.id = src.customer_id
               JOIN integrations_sale s ON s.origin_id = c.origin_id AND s.customer_id = c.external_id
               WHERE s.customer_id <> ''
               UNION SELECT a.sale_id FROM g JOIN loyalty_attachment a ON a.persona_id = g.id
               UNION SELECT st.sale_id FROM g JOIN loyalty_salestate st ON st.persona_id = g.id""",
            {"account": account_id, "ids": list(persona_ids)},
        )
        return [row[0] for row in cursor.fetchall()]


def out_of_date(*, account_id: int) -> int:
    """How many sales are posted at something else than what they are worth by today's programme."""
    current = rules.of(account_id)
    if current is None:
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM integrations_sale WHERE account_id = %s ORDER BY id", [account_id])
        ids = [row[0] for row in cursor.fetchall()]
    wrong = set()
    for start in range(0, len(ids), facts.SLICE):
        part = ids[start : start + facts.SLICE]
        for sale, goal, _ in targets(account_id=account_id, sale_ids=part, rules=current):
            if goal.target != sale.posted:
                wrong.add(sale.sale_id)
    return len(wrong)
