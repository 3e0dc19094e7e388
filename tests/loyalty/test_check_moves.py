"""What `check_ledger` says of moves, seals, closed months and consent: each rule finds what is planted, no other does.

Planted is what the table's owner may do with the triggers switched off. `test_each_rule_has_something_planted` looks at
these cases and those of test_check_ledger.py together: a new rule without one fails by its name.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from aiqsync.accounts.tenancy import acting_in
from loyalty import audits, closes, consent, ledger, messages, seals
from loyalty.models import CouponCode, Modifier
from tests.records import customer, land_customers, make_origin, the_customer

from ..factories import make_discount
from .ledger_sales import make_sales, target
from .people_at_till import DAY, HOUR, NOW, Shop
from .planting import plant
from .test_check_ledger import CORRUPTIONS
from .test_erasure_rules import PLANTED as REMOVED

pytestmark = pytest.mark.django_db
OCTOBER = datetime(2026, 10, 5, tzinfo=UTC)
PHONE = "+16045550142"


@pytest.fixture
def house():
    """A closed and sealed October; then Eve became part of Ada, and each kind of move was made once."""
    shop = Shop(0)
    ids = {"account_id": shop.account.pk}
    for persona in (shop.ada, shop.eve):
        shop.give(100, persona, now=OCTOBER)
        seals.seal(**ids, now=OCTOBER + DAY)
    with acting_in(shop.account.pk):
        closes.close(**ids, now=datetime(2026, 11, 2, tzinfo=UTC))
    # Sold and given back after it was spent; part of what is owed is collected.
    one, other = make_sales(shop.account, 2)
    ledger.settle_sales(**ids, targets=[target(one, shop.ada.pk, 60)], now=NOW)
    ledger.adjust(**ids, persona_id=shop.ada.pk, points=Decimal(-160), key="spent", now=NOW)
    ledger.settle_sales(**ids, targets=[target(one, shop.ada.pk, 0)], now=NOW)
    shop.give(25)
    [short] = [row for row in shop.ada.shortfalls(manager="unscoped").all()]
    ledger.collect(**ids, shortfall_id=short.pk, user_id=None, note="", now=NOW)
    shop.merge()
    origin = make_origin(shop.account, "mirror")
    land_customers(origin, customer("c"))
    ledger.mirror(**ids, persona_id=shop.eve.pk, customer_id=the_customer(origin, "c").pk, balance=Decimal(40), now=NOW)
    ledger.mirror(**ids, persona_id=shop.eve.pk, customer_id=the_customer(origin, "c").pk, balance=Decimal(0), now=NOW)
    boost = Modifier.unscoped.create(**ids, name="Hello", kind="boost", points=50)
    gift = ledger.BoostTarget(boost.pk, shop.ada.pk, other, Decimal(50), {}, None, NOW)
    ledger.settle_sales(**ids, targets=[], boosts=[gift], now=NOW)
    coupon = make_discount(shop.account, points=20, code_kind="unique")
    CouponCode.unscoped.create(**ids, discount=coupon, code="A")
    make_discount(shop.account, points=20, code_kind="unique")
    shop.redeem(shop.eve, discount=coupon)
    land_customers(origin, customer("d"))
    for who in ("c", "d"):
        key = f"import:{origin.pk}:{the_customer(origin, who).pk}"
        ledger.adjust(**ids, persona_id=shop.ada.pk, points=Decimal(5), key=key, kind="import", now=NOW)
    line = {**ids, "channel": "sms", "address": PHONE}
    consent.record(**line, act="opt_in", source="form", now=NOW)
    messages.queue(**line, key="m", purpose="notice", body="x", now=NOW)
    assert messages.deliver_due(now=NOW + 8 * HOUR) == 1  # in the morning
    consent.record(**line, act="stop", source="shopper", now=NOW + DAY)
    assert audits.violations() == []
    return {"ada": shop.ada.pk, "eve": shop.eve.pk}


PLANTED = {
    "a sealed line changed": (
        "UPDATE loyalty_entry SET explanation = '{{\"x\": 1}}' WHERE id = (SELECT min(id) FROM loyalty_entry)",
        {"seal-holds"},
    ),
    "a sealed line moved to another moment": (
        "UPDATE loyalty_entry SET at = at + interval '1 second' WHERE id = (SELECT min(id) FROM loyalty_entry)",
        {"seal-holds"},
    ),
    "a seal counted anew": ("UPDATE loyalty_seal SET number = 7 WHERE number = 2", {"seal-chain"}),
    "a seal taken out": ("DELETE FROM loyalty_seal WHERE number = 1", {"seal-chain", "seal-holds"}),
    "a figure of a closed month shifted to another kind": (
        "INSERT INTO loyalty_monthfigure (account_id, close_id, kind, points, entries) SELECT account_id, close_id,"
        " k.kind, k.points, 0 FROM loyalty_monthfigure, (VALUES ('earn', 5), ('expire', -5)) k (kind, points)"
        " WHERE loyalty_monthfigure.kind = 'opening'",
        {"close-stands"},
    ),
    "more owed at a month's end than there was": (
        "UPDATE loyalty_monthfigure SET points = points + 1 WHERE kind = 'owed'",
        {"close-adds-up"},
    ),
    "a STOP forgotten": ("UPDATE loyalty_consentstate SET state = 'in'", {"consent-journal"}),
    "sent after STOP": (
        f"UPDATE loyalty_message SET sent_at = '{NOW + timedelta(days=2):%Y-%m-%d}' WHERE purpose = 'notice'",
        {"stop-obeyed"},
    ),
    "half of a merge is no merge": (
        "UPDATE loyalty_entry SET merge_id = NULL WHERE key LIKE 'merge:%:in'",
        {"merge-pairs"},
    ),
    "part of another without a merge": (
        "UPDATE loyalty_merge SET split_at = at",
        {"merge-rows"},
    ),
    "a merge without its part": (
        "UPDATE loyalty_persona SET merged_into_id = NULL WHERE id = {eve}",
        {"merge-rows"},
    ),
    "two steps to a root": (
        "INSERT INTO loyalty_persona (account_id, contact_id, first_name, last_name, phone, email, merged_into_id,"
        " created_at) SELECT account_id, gen_random_uuid(), '', '', '', '', id, now() FROM loyalty_persona"
        " WHERE id = {eve};"
        "INSERT INTO loyalty_merge (account_id, survivor_id, loser_id, why, value, survivor_balance, loser_balance, at)"
        " SELECT account_id, {eve}, id, 'manual', '', 0, 0, now() FROM loyalty_persona WHERE merged_into_id = {eve}",
        {"merged-once"},
    ),
    "a moved lot of another kind": (
        "UPDATE loyalty_lot SET kind = 'boost' WHERE from_lot_id IS NOT NULL",
        {"lot-family"},
    ),
    "a boost given for less": ("UPDATE loyalty_booststate SET posted = posted - 1", {"boost-posted"}),
    "a boost's line under another name": (
        "UPDATE loyalty_entry SET key = 'boost:0:0:0' WHERE kind = 'boost'",
        {"boost-posted"},
    ),
    "a mirror out of step": ("UPDATE loyalty_mirrorstate SET posted = 7", {"mirror-posted"}),
    "points of ours in a wallet that is mirrored": (
        "INSERT INTO loyalty_source (account_id, persona_id, customer_id, matched_by, linked_at)"
        " SELECT account_id, {eve}, id, 'new', now() FROM integrations_customer WHERE external_id = 'c';"
        "INSERT INTO loyalty_mirroring (account_id, origin_id, since)"
        " SELECT account_id, origin_id, now() FROM integrations_customer WHERE external_id = 'c'",
        {"mirrored-balance"},
    ),
    "a balance imported again after its source was erased": (
        "UPDATE integrations_customer SET erased_at = now() WHERE id ="
        " (SELECT min(substring(key from '[0-9]+$')::bigint) FROM loyalty_entry WHERE kind = 'import')",
        {"import-once", "erased-customer"},
    ),
    "collected twice over": ("UPDATE loyalty_shortfall SET collected = collected + 1", {"shortfall-collected"}),
    "a collection that belongs to nobody": (
        "UPDATE loyalty_entry SET key = 'another' WHERE key LIKE 'collect:%'",
        {"shortfall-collected"},
    ),
    "a shortfall made larger": ("UPDATE loyalty_shortfall SET points = points + 1", {"sale-posted"}),
    "a code of another discount": (
        "UPDATE loyalty_couponcode SET discount_id = (SELECT max(id) FROM loyalty_discount)",
        {"coupon-once"},
    ),
    "points left with who is part of another": (
        "INSERT INTO loyalty_entry (account_id, persona_id, kind, points, balance_after, key, note, explanation, at)"
        " SELECT account_id, id, 'adjust', 5, 5, 'left', '', '{{}}', now() FROM loyalty_persona WHERE id = {eve};"
        "INSERT INTO loyalty_lot (account_id, persona_id, entry_id, kind, points, remaining, created_at)"
        " SELECT account_id, persona_id, id, kind, points, points, at FROM loyalty_entry WHERE key = 'left';"
        "UPDATE loyalty_wallet SET balance = balance + 5 WHERE persona_id = {eve}",
        {"merged-empty"},
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_it_is_found_by_its_rule_and_by_no_other(house, planted):
    sql, rules = PLANTED[planted]
    found = plant(sql, house, past=("entry", "lot", "draw", "consentstate", "consentline"))
    assert {violation.rule.name for violation in found} == rules
    assert all(violation.examples and violation.rule.promise for violation in found)


def test_each_rule_has_something_planted():
    """References inside an account are planted one by one in test_constraints.py."""
    planted = set().union(*(rules for _, rules in (*PLANTED.values(), *CORRUPTIONS.values(), *REMOVED.values())))
    rules = {rule.name for rule in audits.all_rules()} - {rule.name for rule in audits.tenant_rules()}
    assert not rules - planted, f"nothing shows that these find anything: {', '.join(sorted(rules - planted))}"
