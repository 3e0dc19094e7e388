"""References inside an account carry the account: the database refuses a cross-tenant reference."""

from django.db import migrations

from aiqsync.accounts.tenancy import TenantReferences


class Migration(migrations.Migration):
    dependencies = [("integrations", "0001_initial"), ("accounts", "0001_initial")]

    operations = [
        TenantReferences(
            "integrations_credential", {"connection_id": "integrations_connection", "origin_id": "integrations_origin"}
        ),
        TenantReferences("integrations_location", {"origin_id": "integrations_origin"}),
        TenantReferences("integrations_pricinggroup", {"origin_id": "integrations_origin"}),
        TenantReferences("integrations_customer", {"origin_id": "integrations_origin"}),
        TenantReferences(
            "integrations_sale", {"origin_id": "integrations_origin", "location_id": "integrations_location"}
        ),
        TenantReferences("integrations_saleline", {"sale_id": "integrations_sale"}),
        TenantReferences("integrations_streamstate", {"credential_id": "integrations_credential"}),
        TenantReferences("integrations_syncrun", {"stream_id": "integrations_streamstate"}),
        TenantReferences("integrations_refusedrow", {"origin_id": "integrations_origin"}),
    ]
