"""`check_ledger` finds each thing that a removed person may not have, planted behind the erasure's back."""

import pytest

from loyalty import audits

from .planting import plant
from .removed import Somebody

pytestmark = pytest.mark.django_db

# What is done afterwards, and the rules that must notice.
PLANTED = {
    "points": (
        "ALTER TABLE loyalty_wallet DROP CONSTRAINT wallet_closed_empty;"
        "UPDATE loyalty_wallet SET balance = 5 WHERE persona_id = {ada}",
        {"erased-empty", "balance-entries", "balance-lots"},
    ),
    "an open lot": (
        "UPDATE loyalty_lot SET remaining = 1 WHERE id = (SELECT min(id) FROM loyalty_lot WHERE persona_id = {ada})",
        {"erased-empty", "balance-lots", "lot-draws"},
    ),
    "an open wallet": ("UPDATE loyalty_wallet SET closed = false WHERE persona_id = {ada}", {"erased-empty"}),
    "no wallet": (
        "DELETE FROM loyalty_wallet WHERE persona_id = {part}",
        {"erased-empty"},
    ),
    "a wallet closed for nothing": (
        "UPDATE loyalty_wallet SET closed = true WHERE persona_id = {other}",
        {"wallet-closed"},
    ),
    "a name": ("UPDATE loyalty_persona SET first_name = 'Ada' WHERE id = {ada}", {"erased-nameless"}),
    "a birth date": ("UPDATE loyalty_persona SET birth_date = '1990-05-04' WHERE id = {part}", {"erased-nameless"}),
    "a membership": ("UPDATE loyalty_persona SET member_from = '2026-01-01' WHERE id = {ada}", {"erased-nameless"}),
    "an identifier": (
        "INSERT INTO loyalty_identifier (account_id, persona_id, kind, value, shared, created_at)"
        " VALUES ({account}, {ada}, 'phone', '+16045550142', false, now())",
        {"erased-unknown"},
    ),
    "a record of the POS": (
        "INSERT INTO loyalty_source (account_id, persona_id, customer_id, matched_by, linked_at)"
        " SELECT {account}, {ada}, min(id), 'phone', now() FROM integrations_customer",
        {"erased-unknown"},
    ),
    "a code": (
        "INSERT INTO loyalty_pin (account_id, persona_id, digest, tries, channel, created_at, expires_at)"
        " VALUES ({account}, {ada}, '', 0, '', now(), now() + interval '5 minutes')",
        {"erased-silent"},
    ),
    "a note": (
        "UPDATE loyalty_entry SET note = 'Ada' WHERE id = (SELECT max(id) FROM loyalty_entry WHERE persona_id = {ada})",
        {"erased-silent"},
    ),
    "a merge's number": ("UPDATE loyalty_merge SET value = '+16045550177'", {"erased-silent"}),
    "an address in the journal": (
        "UPDATE loyalty_consentline SET address = '+16045550142' WHERE id = (SELECT min(id) FROM loyalty_consentline"
        " WHERE persona_id = {ada})",
        {"erased-silent"},
    ),
    "an open redemption": (
        "UPDATE loyalty_redemption SET state = 'applied', settled_at = NULL WHERE persona_id = {ada}",
        {"erased-done"},
    ),
    "an open shortfall": (
        "INSERT INTO loyalty_shortfall (account_id, persona_id, key, points, state, at)"
        " VALUES ({account}, {ada}, 'x', 5, 'open', now())",
        {"erased-done"},
    ),
    "half a group": (
        "UPDATE loyalty_persona SET erased_at = NULL WHERE id = {part}",
        {"erased-together", "wallet-closed"},
    ),
    "a customer's street": ("UPDATE integrations_customer SET street = '1 Main St'", {"erased-customer"}),
    "a customer's id": ("UPDATE integrations_customer SET external_id = 'c-ada'", {"erased-customer"}),
    "a product on a receipt": (
        "UPDATE integrations_saleline SET name = 'Flower' WHERE sale_id = {sale}",
        {"erased-customer"},
    ),
}


@pytest.fixture
def removed():
    shop = Somebody()
    shop.everything()
    other = shop.ada.__class__.unscoped.exclude(pk=shop.ada.pk).get(merged_into=None)
    shop.erase()
    assert audits.violations() == []
    sale = shop.ada.sale_states.model.unscoped.get(sale__external_id="s-ada").sale_id
    return {
        "account": shop.account.pk, "ada": shop.ada.pk, "part": shop.merge.loser_id, "other": other.pk, "sale": sale,
    }  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_what_a_removed_person_may_not_have_is_found_and_named(removed, planted):
    sql, rules = PLANTED[planted]
    found = plant(sql, removed, past=("entry", "lot", "consentline", "redemption"))
    assert {violation.rule.name for violation in found} == rules
    assert all(violation.examples for violation in found)


def test_each_rule_about_removed_people_has_its_violation():
    from loyalty import erasure

    planted = {rule for _, rules in PLANTED.values() for rule in rules}
    assert {name for name, *_ in erasure.RULES} <= planted
