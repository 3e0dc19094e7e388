"""Balances that were taken over, as they stood then, until they are posted; many are posted in one call."""

import django.db.models.deletion
from django.db import migrations, models

import aiqsync.accounts.tenancy
from aiqsync.accounts.tenancy import TenantReferences
from loyalty.sql import load

# Of earlier imports, what the POS has not changed since is still known. What it has is lost.
_TAKEN_BEFORE = """
INSERT INTO loyalty_waitingbalance (account_id, origin_id, customer_id, points)
SELECT c.account_id, c.origin_id, c.id, b.points
FROM loyalty_pointsimport i JOIN integrations_customerbalance b ON b.origin_id = i.origin_id
JOIN integrations_customer c ON c.origin_id = b.origin_id AND c.external_id = b.external_id
WHERE b.points > 0 AND b.changed_at <= i.taken_at AND c.merged_into = '' AND c.erased_at IS NULL
  AND NOT EXISTS (SELECT FROM loyalty_entry e
                  WHERE e.account_id = c.account_id AND e.key = 'import:' || c.origin_id || ':' || c.id)
ORDER BY c.id
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_tenant_references"),
        ("integrations", "0013_points_reading"),
        ("loyalty", "0026_mirror_of_others"),
    ]

    operations = [
        migrations.CreateModel(
            name="WaitingBalance",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("points", models.DecimalField(decimal_places=2, max_digits=14)),
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
                    "customer",
                    aiqsync.accounts.tenancy.TenantKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="waiting_balances",
                        to="integrations.customer",
                    ),
                ),
                (
                    "origin",
                    aiqsync.accounts.tenancy.TenantKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="waiting_balances",
                        to="integrations.origin",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("customer",), name="waiting_balance_once"),
                    models.CheckConstraint(condition=models.Q(("points__gt", 0)), name="waiting_balance_points"),
                ],
            },
        ),
        TenantReferences(
            "loyalty_waitingbalance", {"origin_id": "integrations_origin", "customer_id": "integrations_customer"}
        ),
        migrations.RunSQL(_TAKEN_BEFORE, migrations.RunSQL.noop),
        load("import"),
    ]
