"""Whose balances in the POS are to be read."""

import django.db.models.deletion
from django.db import migrations, models

import aiqsync.accounts.tenancy
from aiqsync.accounts.tenancy import TenantReferences


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_tenant_references"),
        ("integrations", "0012_settings_that_shape"),
    ]

    operations = [
        migrations.AddField(
            model_name="origin",
            name="own_points_at",
            field=models.DateTimeField(
                help_text="The latest sale for which the POS gave points of its own.", null=True
            ),
        ),
        migrations.CreateModel(
            name="BalanceReading",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("continuous", models.BooleanField(default=False, help_text="They are mirrored.")),
                (
                    "asked_at",
                    models.DateTimeField(
                        help_text="Somebody waits for a round that began at or after this.", null=True
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.account",
                    ),
                ),
                (
                    "origin",
                    aiqsync.accounts.tenancy.TenantKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="balance_readings",
                        to="integrations.origin",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("origin",), name="balance_reading_once")],
            },
        ),
        TenantReferences("integrations_balancereading", {"origin_id": "integrations_origin"}),
    ]
