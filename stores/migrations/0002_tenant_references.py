"""References inside an account carry the account: the database refuses a cross-tenant reference."""

from django.db import migrations

from aiqsync.accounts.tenancy import TenantReferences


class Migration(migrations.Migration):
    dependencies = [
        ("stores", "0001_initial"),
        ("accounts", "0001_initial"),
        ("integrations", "0001_initial"),
    ]

    operations = [
        TenantReferences(
            "stores_storemapping",
            {"location_id": "integrations_location", "store_id": "stores_store"},
        ),
        TenantReferences(
            "stores_storestaff",
            {"membership_id": "accounts_membership", "store_id": "stores_store"},
        ),
        TenantReferences("stores_storekey", {"key_id": "accounts_apikey", "store_id": "stores_store"}),
    ]
