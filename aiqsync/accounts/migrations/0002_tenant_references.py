"""References inside an account carry the account: the database refuses a cross-tenant reference."""

from django.db import migrations

from aiqsync.accounts.tenancy import TenantReferences


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [
        TenantReferences("accounts_auditline", {"key_id": "accounts_apikey"}),
    ]
