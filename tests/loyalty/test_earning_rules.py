"""What a sale is worth: modifiers, their conditions, visits, who earns; and the sentence that says so."""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty import earning
from loyalty.earning import Rules, SaleFacts, apportion, judge, points_said, sentence, worth_of
from loyalty.facts import Line
from loyalty.rules import Mod

VANCOUVER, TORONTO = ZoneInfo("America/Vancouver"), ZoneInfo("America/Toronto")
MONDAY_NOON = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)  # in Vancouver
RULES = Rules(
    enabled=True, points_per_100=Decimal(100), accrual_start=None, exclude_tax=True, rounding="off", refunds="keep",
    expire_days=None, zone=VANCOUVER, zones={2: TORONTO},
)  # fmt: skip
LINES = (Line(6000, "cedar peak", "flower > sativa", "a1"), Line(4000, "dusk", "edibles", "b2"))
SALE = SaleFacts(
    sale_id=1, persona_id=1, member_from=date(2026, 1, 1), kind="sale", sold_at=MONDAY_NOON, net_cents=10000,
    tax_cents=1200, refunded_net_cents=0, refunded_tax_cents=0, refunds_end=None, posted=Decimal(0), lines=LINES,
    store_id=1, stays=frozenset({7}),
)  # fmt: skip


def mod(pk=1, name="Double Tuesday", kind="multiplier", factor="2", **fields) -> Mod:
    for each in ("stores", "brands", "categories", "skus", "weekdays"):
        fields[each] = frozenset(fields.get(each, ()))
    plain = dict.fromkeys(("audience_id", "from_hour", "to_hour", "starts_on", "ends_on"))
    return Mod(
        **plain | {"id": pk, "name": name, "kind": kind, "factor": Decimal(factor), "points": Decimal(0),
                   "with_sale": False} | fields,
    )  # fmt: skip


def zero(pk=9, name="No points on gift cards", **fields) -> Mod:
    return mod(pk, name, "zero", **fields)


def points(*modifiers, sale=SALE, **rules) -> Decimal:
    return worth_of(sale, replace(RULES, modifiers=modifiers, **rules)).points


@pytest.mark.parametrize(
    ("condition", "worth"),
    [
        ({}, 200),
        ({"audience_id": 7}, 200),
        ({"audience_id": 8}, 100),
        ({"stores": [1, 5]}, 200),
        ({"stores": [5]}, 100),
        ({"brands": ["cedar peak"]}, 160),
        ({"brands": ["cedar"]}, 100),  # whole words, not their beginning
        ({"categories": ["edibles", "drinks"]}, 140),
        ({"categories": ["flower"]}, 160),  # those below it count too
        ({"categories": ["flow", "sativa", "flower > sat"]}, 100),  # whole names, from the top
        ({"skus": ["b2"]}, 140),
        ({"brands": ["cedar peak"], "skus": ["b2"]}, 100),  # on one line both
        ({"brands": ["cedar peak"], "categories": ["flower > sativa"]}, 160),
        ({"weekdays": [0]}, 200),
        ({"weekdays": [1, 6]}, 100),
        ({"from_hour": time(12), "to_hour": time(13)}, 200),
        ({"from_hour": time(11), "to_hour": time(12)}, 100),  # the end is excluded
        ({"from_hour": time(12, 1)}, 100),
        ({"to_hour": time(12, 1)}, 200),
        ({"from_hour": time(10), "to_hour": time(0)}, 200),  # until midnight
        ({"to_hour": time(0)}, 200),
        ({"from_hour": time(22), "to_hour": time(2)}, 100),
        ({"from_hour": time(22), "to_hour": time(13)}, 200),  # over midnight
        ({"starts_on": date(2026, 3, 2)}, 200),
        ({"starts_on": date(2026, 3, 3)}, 100),
        ({"ends_on": date(2026, 3, 2)}, 200),
        ({"ends_on": date(2026, 3, 1)}, 100),
        ({"stores": [1], "weekdays": [0], "brands": ["dusk"], "audience_id": 7}, 140),
    ],
)
def test_each_condition(condition, worth):
    assert points(mod(**condition)) == worth
    # The same conditions decide about no points at all, and about a boost.
    without = {200: 0, 160: 40, 140: 60, 100: 100}[worth]
    assert points(zero(**condition)) == without
    boost = mod(kind="boost", points=Decimal(50), with_sale=True, **condition)
    assert bool(worth_of(SALE, replace(RULES, boosts=(boost,))).boosts) == (worth > 100)


def test_days_are_the_accounts_and_hours_are_the_stores():
    late = replace(
        SALE, sold_at=datetime(2026, 3, 3, 7, 30, tzinfo=UTC)
    )  # 2 March 23:30 in Vancouver, 02:30 in Toronto
    there = replace(late, store_id=2)
    assert points(mod(weekdays=[0]), sale=late) == 200 and points(mod(weekdays=[0]), sale=there) == 100
    assert points(mod(weekdays=[1]), sale=there) == 200
    assert points(mod(from_hour=time(2), to_hour=time(3)), sale=there) == 200
    assert points(mod(ends_on=date(2026, 3, 2)), sale=there) == 200  # the account's day, wherever it was sold


def test_zero_wins_and_multipliers_do_not_multiply_each_other():
    twice, thrice = mod(1), mod(2, "Triple Friday", factor="3")
    assert points(twice, thrice) == 300
    assert points(twice, zero(categories=["edibles"])) == 120  # 60 twice, 40 nothing
    assert points(twice, thrice, zero()) == 0
    assert points(mod(1, factor="0.5")) == 50  # a multiplier may take as well
    assert points(mod(1, factor="3", skus=["a1"]), mod(2, factor="2")) == 6000 * 3 / 100 + 4000 * 2 / 100


def test_products_share_what_was_paid_for_the_whole_cart():
    """A cart discount lies over the lines by what they cost, to the cent."""
    paid = replace(SALE, net_cents=9999)
    assert apportion(9999, [6000, 4000]) == [5999, 4000]
    assert points(mod(skus=["a1"]), sale=paid) == Decimal("159.98")
    assert points(mod(skus=["a1"]), sale=replace(SALE, lines=())) == 100  # nothing is known of the lines
    back = replace(SALE, net_cents=4000, lines=(Line(-6000, "", "", "a1"), Line(4000, "", "", "b2")))
    assert points(mod(skus=["a1"]), sale=back) == 40  # a returned line bears nothing


def test_rounding_once_after_everything():
    odd = replace(SALE, net_cents=1050, lines=(Line(333, "x", "", ""), Line(333, "y", "", ""), Line(384, "z", "", "")))
    three = tuple(mod(pk, brands=[brand], factor="1.5") for pk, brand in enumerate("xyz"))
    assert points(*three, sale=odd, rounding="nearest") == 16  # 15.75; line by line it would be 5 + 5 + 6
    assert points(*three, sale=odd, rounding="down", points_per_order=Decimal("0.25")) == 16
    assert points(sale=replace(SALE, net_cents=250), points_per_100=Decimal(1), rounding="nearest") == 0
    assert points(sale=replace(SALE, net_cents=5000), points_per_100=Decimal(1), rounding="nearest") == 1  # half up


@pytest.mark.parametrize(("cents", "before", "since"), [(10000, 112, 100)])
def test_tax_is_left_out_from_a_day_on(cents, before, since):
    assert points(exclude_tax_from=date(2026, 3, 3)) == before
    assert points(exclude_tax_from=date(2026, 3, 2)) == since
    assert points(exclude_tax=False, exclude_tax_from=date(2026, 3, 2)) == before


@pytest.mark.parametrize(
    ("customer_type", "asked", "worth"),
    [("", "recreational", 100), ("", "medical", 0), ("medical", "medical", 100), ("medical", "recreational", 0),
     ("recreational", "recreational", 100), ("medical", "all", 100)],
)  # fmt: skip
def test_who_earns(customer_type, asked, worth):
    assert points(sale=replace(SALE, customer_type=customer_type), earning_types=asked) == worth


@pytest.mark.parametrize(
    ("said", "needed", "worth"),
    [((), "sms", 0), (("sms",), "sms", 100), (("email",), "sms", 0), (("email",), "email", 100),
     (("email",), "any", 100), ((), "any", 0), ((), "none", 100)],
)  # fmt: skip
def test_what_is_needed_to_earn(said, needed, worth):
    assert points(sale=replace(SALE, opted_in=frozenset(said)), opt_in_needed=needed) == worth


def test_visits_of_a_day():
    """The first ones of the account's day earn for the order; a void and an unpaid sale are no visits."""
    rules = replace(RULES, points_per_order=Decimal(10), max_visits=2)
    at = [datetime(2026, 3, 2, hour, tzinfo=UTC) for hour in (17, 18, 19, 20, 21)]
    sales = [replace(SALE, sale_id=n, sold_at=moment) for n, moment in enumerate(at, 1)]
    sales[0] = replace(sales[0], refunded_net_cents=10000, refunded_tax_cents=1200, refunds_end=at[4])  # a void
    sales[1] = replace(sales[1], net_cents=0)
    other = replace(SALE, sale_id=6, persona_id=2)
    tomorrow = replace(SALE, sale_id=7, sold_at=datetime(2026, 3, 3, 8, 30, tzinfo=UTC))
    found = {sale.sale_id: goal.target for sale, goal, _ in judge([*reversed(sales), other, tomorrow], rules)}
    assert found == {1: 0, 2: 0, 3: 110, 4: 110, 5: 100, 6: 110, 7: 110}


def test_no_points_at_all_is_no_points_for_the_visit_either():
    order = {"points_per_order": Decimal(10)}
    assert points(zero(), **order) == 0
    assert points(zero(skus=["a1"]), **order) == 50  # something of it earned


READ_ALOUD = [
    ({}, {}, "$100.00 before tax, 100 points per $100."),
    ({}, {"exclude_tax": False}, "$112.00 with tax, 100 points per $100."),
    ({}, {"points_per_100": Decimal("2.50")}, "$100.00 before tax, 2.5 points per $100."),
    ({"net_cents": 123456789}, {}, "$1,234,567.89 before tax, 100 points per $100."),
    ({}, {"modifiers": (mod(),)}, "$100.00 before tax, 100 points per $100, Double Tuesday: 2 times on $100.00."),
    (
        {},
        {"modifiers": (mod(factor="1.50", skus=["a1"]), zero(categories=["edibles"]))},
        "$100.00 before tax, 100 points per $100, Double Tuesday: 1.5 times on $60.00, "
        "No points on gift cards: no points on $40.00.",
    ),
    ({}, {"points_per_order": Decimal(10)}, "$100.00 before tax, 100 points per $100, 10 points for the visit."),
    ({}, {"points_per_order": Decimal("2.50")}, "$100.00 before tax, 100 points per $100, 2.5 points for the visit."),
    (
        {"visit": 3},
        {"points_per_order": Decimal(10), "max_visits": 2},
        "$100.00 before tax, 100 points per $100, no more points for visits on this day (2 at most).",
    ),
    (
        {"net_cents": 5055},
        {"rounding": "up"},
        "$50.55 before tax, 100 points per $100, rounded up from 50.55.",
    ),
    ({"net_cents": 5055}, {"rounding": "down"}, "$50.55 before tax, 100 points per $100, rounded down from 50.55."),
    ({"net_cents": 5055}, {"rounding": "nearest"}, "$50.55 before tax, 100 points per $100, rounded from 50.55."),
    (
        {"net_cents": 5055},
        {"points_per_100": Decimal("2.5")},
        "$50.55 before tax, 2.5 points per $100, rounded to two decimals from 1.26375.",
    ),
    (
        {"net_cents": 10001},
        {"rounding": "up", "points_per_100": Decimal("0.01")},
        "$100.01 before tax, 0.01 points per $100, rounded up from 0.010001.",
    ),
    ({"refunded_net_cents": 2000}, {"refunds": "reverse"},
     "$80.00 before tax, 100 points per $100, $20.00 refunded left out."),
    ({"refunded_net_cents": 10000}, {"refunds": "reverse"}, "All of its $100.00 was refunded."),
    ({"net_cents": 0}, {}, "Nothing was paid for it."),
    ({"kind": "refund"}, {}, "A refund earns nothing."),
    ({"undoes_refund": True}, {}, "It takes a refund back; the first sale earns again."),
    ({"persona_id": None}, {}, "No customer was on the sale."),
    ({"member_from": None}, {}, "The shopper is not a member."),
    ({"member_from": date(2026, 3, 3)}, {}, "Sales before 3 Mar 2026 earn nothing."),
    ({}, {"starts": {0: date(2026, 4, 1)}}, "Sales before 1 Apr 2026 earn nothing."),
    ({"refunded_net_cents": 10000, "refunded_tax_cents": 1200, "refunds_end": MONDAY_NOON}, {},
     "The sale was refunded in full the same day."),
    ({}, {"enabled": False}, "The programme was switched off."),
    ({"is_blocked": True}, {}, "The phone is on the employee points blocklist."),
    ({}, {"earning_types": "medical"}, "Only medical shoppers earn."),
    ({}, {"opt_in_needed": "sms"}, "Only shoppers who have opted in to texts earn; this one had not."),
    ({}, {"opt_in_needed": "any"}, "Only shoppers who have opted in to texts or e-mail earn; this one had not."),
]  # fmt: skip


@pytest.mark.parametrize(("sale", "rules", "said"), READ_ALOUD)
def test_fault_1_9_every_line_explains_itself_aloud(sale, rules, said):
    """Base, rate, modifier, exclusions, rounding: what a budtender reads to the shopper."""
    worth = worth_of(replace(SALE, **sale), replace(RULES, **rules))
    assert sentence(worth.why) == said
    assert points_said(worth.why) in (None, worth.points)


@pytest.mark.parametrize(
    ("explanation", "said"),
    [
        ({"why": "boost", "name": "Welcome gift"}, "Welcome gift."),
        ({"why": "boost", "name": "Penalty", "refused": "12.50"}, "Penalty. 12.50 more were not there."),
        (
            {"why": "boost", "name": "Welcome gift", "back": True},
            "Welcome gift, taken back: the purchase it came with no longer earns it.",
        ),
        ({"owner": "changed"}, "The sale turned out to be another customer's: its points went there."),
        ({"why": "merge", "survivor": "120.00", "loser": "30.5"},
         "Two records became one: 120 points here and 30.50 points there."),
        ({"why": "mirror", "pos": 400}, "The POS says 400 points."),
        ({"why": "earned", "base": 10000, "rate": "1E+2", "order": "1E+1"},  # as it was written once
         "$100.00 before tax, 100 points per $100, 10 points for the visit."),
        ({}, ""),
    ],
)  # fmt: skip
def test_fault_1_9_the_other_lines(explanation, said):
    assert sentence(explanation) == said


def test_fault_1_9_a_reason_is_never_empty():
    """Each reason the rules can give has its sentence."""
    for why in earning._WHY:
        assert earning._WHY[why].endswith(".")
    said = {sentence(worth_of(replace(SALE, **sale), replace(RULES, **rules)).why) for sale, rules, _ in READ_ALOUD}
    assert "" not in said


_brand = st.sampled_from(["cedar peak", "dusk", "noon"])
_lines = st.lists(
    st.builds(Line, st.integers(-2000, 30000), _brand, st.sampled_from(["flower", "edibles"]), st.just("")), max_size=6
)
_mods = st.lists(
    st.builds(
        lambda pk, kind, factor, brands, audience: mod(
            pk, f"Modifier {pk}", kind, factor, brands=brands, audience_id=audience
        ),
        st.integers(1, 9),
        st.sampled_from(["multiplier", "multiplier", "zero"]),
        st.decimals("0.01", "9.99", places=2).map(str),
        st.sets(_brand, max_size=2),
        st.sampled_from([None, 7, 8]),
    ),
    max_size=4,
    unique_by=lambda one: one.id,
)


@settings(max_examples=500, deadline=None)
@given(
    net=st.integers(-500, 500_000), tax=st.integers(0, 60_000), refunded=st.integers(0, 60_000),
    lines=_lines, mods=_mods, rate=st.decimals(0, 1000, places=2), order=st.decimals(0, 50, places=2),
    visit=st.integers(0, 4),
    rounding=st.sampled_from(["off", "nearest", "up", "down"]), exclude_tax=st.booleans(),
    refunds=st.sampled_from(["keep", "reverse", "reverse_full"]),
)  # fmt: skip
def test_fault_1_9_the_figures_of_the_explanation_add_up(
    net, tax, refunded, lines, mods, rate, order, visit, rounding, exclude_tax, refunds
):
    """For any sale and rules, the explanation's own figures are the points; and the sentence says each of them."""
    sale = replace(SALE, net_cents=net, tax_cents=tax, refunded_net_cents=refunded, lines=tuple(lines), visit=visit)
    rules = replace(
        RULES, points_per_100=rate, points_per_order=order, max_visits=3, rounding=rounding, exclude_tax=exclude_tax,
        refunds=refunds, modifiers=tuple(mods),
    )  # fmt: skip
    worth = worth_of(sale, rules)
    assert worth.points >= 0
    assert points_said(worth.why) == worth.points
    said = sentence(worth.why)
    if worth.why["base"]:
        assert said.startswith(f"${worth.why['base'] / 100:,.2f} ") and f"{rate.normalize():f} points per $100" in said
        for one in worth.why.get("modifiers", ()):
            assert f"{one['name']}: " in said and f"on ${one['cents'] / 100:,.2f}" in said
        assert ("rounded" in said) == ("rounding" in worth.why)
        if "rounding" in worth.why:
            assert said.endswith(f" from {worth.why['exact']}.")
    assert "E+" not in said and said.endswith(".")
