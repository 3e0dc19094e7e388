"""References inside an account carry the account: the database refuses a cross-tenant reference."""

from django.db import migrations

from aiqsync.accounts.tenancy import TenantReferences


class Migration(migrations.Migration):
    dependencies = [
        ("loyalty", "0001_initial"),
        ("accounts", "0001_initial"),
        ("integrations", "0001_initial"),
        ("stores", "0001_initial"),
    ]

    operations = [
        TenantReferences("loyalty_persona", {"merged_into_id": "loyalty_persona"}),
        TenantReferences("loyalty_identifier", {"persona_id": "loyalty_persona"}),
        TenantReferences(
            "loyalty_source",
            {"persona_id": "loyalty_persona", "customer_id": "integrations_customer"},
        ),
        TenantReferences("loyalty_enrolment", {"persona_id": "loyalty_persona"}),
        TenantReferences("loyalty_wallet", {"persona_id": "loyalty_persona"}),
        TenantReferences(
            "loyalty_salestate",
            {"sale_id": "integrations_sale", "persona_id": "loyalty_persona"},
        ),
        TenantReferences(
            "loyalty_redemption",
            {
                "persona_id": "loyalty_persona",
                "discount_id": "loyalty_discount",
                "store_id": "stores_store",
                "sale_id": "integrations_sale",
            },
        ),
        TenantReferences(
            "loyalty_entry",
            {
                "persona_id": "loyalty_persona",
                "sale_id": "integrations_sale",
                "redemption_id": "loyalty_redemption",
            },
        ),
        TenantReferences(
            "loyalty_lot",
            {
                "persona_id": "loyalty_persona",
                "entry_id": "loyalty_entry",
                "from_lot_id": "loyalty_lot",
            },
        ),
        TenantReferences("loyalty_draw", {"entry_id": "loyalty_entry", "lot_id": "loyalty_lot"}),
        TenantReferences(
            "loyalty_shortfall",
            {
                "persona_id": "loyalty_persona",
                "sale_id": "integrations_sale",
                "redemption_id": "loyalty_redemption",
            },
        ),
    ]
