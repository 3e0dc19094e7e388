"""`check_ledger` finds each corruption planted behind the ledger's back, and nothing else."""

import io
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db import connection

from loyalty import audits, ledger
from loyalty.models import Redemption

from ..factories import make_account, make_discount, make_persona
from .ledger_sales import make_sales, target
from .planting import plant

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def house():
    """An account where everything has happened once."""
    account = make_account()
    ada, ben = make_persona(account), make_persona(account)
    ids = {"account_id": account.pk}
    sales = make_sales(account, 4)
    discount = make_discount(account, points=100)

    def give(persona, points, **options):
        ledger.adjust(**ids, persona_id=persona.pk, points=Decimal(points), key=str(uuid.uuid4()), now=NOW, **options)

    give(ada, 80, expires_at=NOW + timedelta(days=1))
    give(ada, 420)
    give(ben, 300)
    orders = [
        ledger.redeem(
            **ids, persona_id=ada.pk, discount_id=discount.pk, n=n, transaction=f"T{n}", channel="till", now=NOW
        )
        for n in range(3)
    ]
    ledger.revert(**ids, redemption_public_id=orders[0].redemption_id, now=NOW)
    ledger.revert(**ids, redemption_public_id=orders[1].redemption_id, points=Decimal(30), now=NOW)
    settled = Redemption.unscoped.get(public_id=orders[1].redemption_id)
    assert ledger.settle_redemption(**ids, redemption_id=settled.pk, sale_id=sales[0], now=NOW)
    ledger.settle_sales(**ids, targets=[target(sale, ada.pk, 50) for sale in sales[:3]], now=NOW)
    ledger.settle_sales(**ids, targets=[target(sales[1], ben.pk, 60), target(sales[2], ada.pk, 10)], now=NOW)
    give(ben, -355)
    ledger.settle_sales(**ids, targets=[target(sales[1], ben.pk, 0)], now=NOW)
    ledger.expire_due(now=NOW + timedelta(days=2))
    return {
        "account": account.pk,
        "ada": ada.pk,
        "ben": ben.pk,
        "sale": sales[0],
        "spare": sales[3],
        "other": make_account("Other Co").pk,
    }


def _check():
    out, code = io.StringIO(), 0
    try:
        call_command("check_ledger", stdout=out)
    except SystemExit as stop:
        code = stop.code
    return out.getvalue().splitlines(), code


def test_all_is_well(house):
    assert _check() == (["0 violations"], 0)


LOT = "(SELECT id FROM loyalty_lot WHERE remaining > 5 ORDER BY id DESC LIMIT 1)"
# What is done behind the ledger's back, and the rules that must notice.
CORRUPTIONS = {
    "balance raised": (
        "UPDATE loyalty_wallet SET balance = balance + 1 WHERE persona_id = {ada}",
        {"balance-entries", "balance-lots"},
    ),
    "wallet lost": ("DELETE FROM loyalty_wallet WHERE persona_id = {ada}", {"balance-entries", "balance-lots"}),
    "balance below zero": (
        "ALTER TABLE loyalty_wallet DROP CONSTRAINT wallet_not_negative;"
        "UPDATE loyalty_wallet SET balance = -1 WHERE persona_id = {ben}",
        {"balance-entries", "balance-lots", "not-negative"},
    ),
    "entry changed": (
        "UPDATE loyalty_entry SET points = points + 1 WHERE kind = 'adjust' AND points = 420",
        {"balance-entries", "running-balance", "entry-parts"},
    ),
    "entry's balance changed": (
        "UPDATE loyalty_entry SET balance_after = balance_after + 1 WHERE points = 420",
        {"running-balance"},
    ),
    "entry deleted": (
        "DELETE FROM loyalty_draw WHERE entry_id IN (SELECT id FROM loyalty_entry WHERE kind = 'expire');"
        "DELETE FROM loyalty_entry WHERE kind = 'expire'",
        {"balance-entries", "lot-draws"},
    ),
    "entry doubled under its key": (
        "ALTER TABLE loyalty_entry DROP CONSTRAINT entry_key_once;"
        "INSERT INTO loyalty_entry (account_id, persona_id, kind, points, balance_after, key, note, explanation, at)"
        " SELECT account_id, persona_id, kind, points, balance_after, key, note, explanation, at"
        " FROM loyalty_entry WHERE points = 420",
        {"balance-entries", "running-balance", "entry-parts", "key-once"},
    ),
    "lot refilled": (
        "UPDATE loyalty_lot SET remaining = remaining + 1 WHERE remaining < points AND remaining > 0",
        {"balance-lots", "lot-draws"},
    ),
    "draw changed": (
        "UPDATE loyalty_draw SET points = points - 1 WHERE id = (SELECT max(d.id) FROM loyalty_draw d"
        " JOIN loyalty_entry e ON e.id = d.entry_id WHERE e.kind = 'redeem')",
        {"entry-parts", "lot-draws"},
    ),
    "lot of another persona": (
        f"UPDATE loyalty_lot SET persona_id = {{ben}} WHERE id = {LOT}",
        {"balance-lots", "same-persona"},
    ),
    "redemption says it gave back more": (
        "UPDATE loyalty_redemption SET reverted_points = reverted_points + 1 WHERE n = 1",
        {"redemption-entries"},
    ),
    "redemption dearer than what it took": (
        "UPDATE loyalty_redemption SET points = points + 1 WHERE n = 2",
        {"redemption-entries"},
    ),
    "redemption ended without its points": (
        "ALTER TABLE loyalty_redemption DROP CONSTRAINT redemption_ended;"
        "UPDATE loyalty_redemption SET state = 'reverted', ended_at = now() WHERE n = 2",
        {"redemption-state"},
    ),
    "redemption alive again": (
        "ALTER TABLE loyalty_redemption DROP CONSTRAINT redemption_ended;"
        "ALTER TABLE loyalty_redemption DROP CONSTRAINT redemption_applied;"
        "UPDATE loyalty_redemption SET state = 'applied' WHERE n = 0",
        {"redemption-state"},
    ),
    "redemption counted out of order": (
        "UPDATE loyalty_redemption SET n = 7 WHERE n = 1",
        {"redemption-order"},
    ),
    "points given back to a lot they did not come from": (
        "UPDATE loyalty_draw SET lot_id = (SELECT id FROM loyalty_lot WHERE kind = 'earn' ORDER BY id LIMIT 1)"
        " WHERE points = 30",
        {"lot-draws", "redemption-lots"},
    ),
    "sale says more": (
        "UPDATE loyalty_salestate SET posted = posted + 1 WHERE sale_id = {sale}",
        {"sale-posted"},
    ),
    "sale forgotten": ("DELETE FROM loyalty_salestate WHERE sale_id = {sale}", {"sale-posted"}),
    "shortfall lost": ("DELETE FROM loyalty_shortfall", {"sale-posted"}),
    "merged with its points": (
        "UPDATE loyalty_persona SET merged_into_id = {ben} WHERE id = {ada}",
        {"merged-empty", "merge-rows"},
    ),
    "merged into somebody merged": (
        "INSERT INTO loyalty_persona (account_id, contact_id, first_name, last_name, phone, email, merged_into_id,"
        " created_at) SELECT account_id, gen_random_uuid(), '', '', '', '', id, now() FROM loyalty_persona"
        " WHERE id = {ada};"
        "UPDATE loyalty_persona SET merged_into_id = {ben} WHERE id = {ada}",
        {"merged-once", "merged-empty", "merge-rows"},
    ),
    "entry of a merge alone": (
        "INSERT INTO loyalty_merge (account_id, survivor_id, loser_id, why, value, survivor_balance, loser_balance, at,"
        " split_at) SELECT account_id, {ben}, {ada}, 'manual', '', 0, 0, now(), now() FROM loyalty_persona"
        " WHERE id = {ada};"
        "UPDATE loyalty_entry SET merge_id = (SELECT max(id) FROM loyalty_merge) WHERE points = 420",
        {"merge-pairs"},
    ),
    "moved lot larger than its parent": (
        "UPDATE loyalty_lot SET from_lot_id = (SELECT id FROM loyalty_lot l ORDER BY points LIMIT 1)"
        " WHERE id = (SELECT id FROM loyalty_lot l ORDER BY points DESC LIMIT 1)",
        {"lot-family"},
    ),
    "boost says more": (
        "INSERT INTO loyalty_modifier (account_id, name, kind, factor, points, stores, brands, categories, skus,"
        " weekdays, with_sale, active, created_at) SELECT account_id, 'B', 'boost', 1, 5, '[]', '[]', '[]', '[]', '[]',"
        " true, true, now() FROM loyalty_persona WHERE id = {ada};"
        "INSERT INTO loyalty_booststate (account_id, modifier_id, persona_id, posted, posts, at)"
        " SELECT account_id, id, {ada}, 5, 1, now() FROM loyalty_modifier",
        {"boost-posted"},
    ),
    "mirror says more": (
        "INSERT INTO integrations_customer (account_id, origin_id, external_id, first_name, last_name, phone,"
        " phone_raw, email, email_raw, street, city, state, postal_code, country, pricing_group, disabled, merged_into,"
        " version, changed_at) SELECT account_id, id, 'm', '', '', '', '', '', '', '', '', '', '', '', '',"
        " false, '', 0, now()"
        " FROM integrations_origin LIMIT 1;"
        "INSERT INTO loyalty_mirrorstate (account_id, customer_id, persona_id, posted, posts, at)"
        " SELECT account_id, id, {ada}, 5, 1, now() FROM integrations_customer WHERE external_id = 'm'",
        {"mirror-posted"},
    ),
    "collected without an entry": (
        "UPDATE loyalty_shortfall SET collected = 1 WHERE account_id = {account} AND points > 1",
        {"shortfall-collected"},
    ),
    "debit without a lot": (
        "DELETE FROM loyalty_draw WHERE entry_id = (SELECT max(id) FROM loyalty_entry WHERE kind = 'redeem')",
        {"debits-point-at-lots", "entry-parts", "lot-draws"},
    ),
    "code of another discount": (
        "INSERT INTO loyalty_discount (account_id, number, internal_name, tags, reward, name, description, kind,"
        " amount_cents, percent, points, min_spend_cents, stackable, reusable, cooldown_h, hide_redeem, code_kind,"
        " static_code, pos_discount_id, in_store_only, rank, limited_stores, limited_audiences, created_at, updated_at)"
        " SELECT account_id, 999, 'x', '', 'normal', 'x', '', 'flat', 100, 0, 0, 0, false, true, 0, false, 'none', '',"
        " '', false, 1, false, false, now(), now() FROM loyalty_persona WHERE id = {ada};"
        "INSERT INTO loyalty_couponcode (account_id, discount_id, code, redemption_id, created_at)"
        " SELECT r.account_id, d.id, 'X', r.id, now() FROM loyalty_redemption r, loyalty_discount d"
        " WHERE r.n = 2 AND d.number = 999 AND r.account_id = d.account_id",
        {"coupon-once"},
    ),
    "reference into another account": (
        "ALTER TABLE loyalty_salestate DROP CONSTRAINT loyalty_salestate_persona_id_tenant;"
        "ALTER TABLE loyalty_salestate DROP CONSTRAINT loyalty_salestate_sale_id_tenant;"
        "UPDATE loyalty_salestate SET account_id = {other} WHERE sale_id = {sale}",
        {"tenant:loyalty_salestate.persona_id", "tenant:loyalty_salestate.sale_id"},
    ),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_corruption_is_found_and_named(house, corruption):
    sql, rules = CORRUPTIONS[corruption]
    found = plant(sql, house, past=("entry", "draw", "lot", "redemption"))
    assert {violation.rule.name for violation in found} == rules
    assert all(violation.examples for violation in found)
    lines, code = _check()
    assert code == 1
    assert lines[-1] == f"{sum(violation.count for violation in found)} violations"
    assert {line.split(": ")[0] for line in lines[:-1]} == rules


def test_one_account_alone(house):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE loyalty_wallet SET balance = balance + 1 WHERE persona_id = %s", [house["ada"]])
    assert audits.violations(account_id=house["other"]) == []
    assert len(audits.violations(account_id=house["account"])) == 2


def test_no_more_than_five_examples(house):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE loyalty_entry DISABLE TRIGGER USER")
        cursor.execute("UPDATE loyalty_entry SET balance_after = balance_after + 1000")
    (violation,) = audits.violations()
    assert violation.count > 5
    assert len(violation.examples) == 5


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_it_reads_one_moment(house):
    assert _check() == (["0 violations"], 0)
