"""Keys that end, are replaced, and may call from some addresses only; an account's own limit of calls."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import aiqsync.accounts.tenancy
from aiqsync.accounts.tenancy import TenantReferences


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_alerts"),
    ]

    operations = [
        migrations.AddField(
            model_name="account",
            name="api_per_minute",
            field=models.PositiveIntegerField(
                editable=False,
                help_text="Calls a minute for each of its API keys; null: the installation's.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="addresses",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=43), blank=True, default=list, size=None
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="expires_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="last_used_from",
            field=models.GenericIPAddressField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="refused_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="refused_from",
            field=models.GenericIPAddressField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="replaces",
            field=aiqsync.accounts.tenancy.TenantKey(
                db_constraint=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="replaced_by",
                to="accounts.apikey",
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.UniqueConstraint(fields=("replaces",), name="apikey_replaced_once"),
        ),
        TenantReferences("accounts_apikey", {"replaces_id": "accounts_apikey"}),
    ]
