"""Balances that are the POS's own: mirrored, or taken over once; wallets that follow them."""

import django.db.models.deletion
from django.db import migrations, models

import aiqsync.accounts.tenancy
from aiqsync.accounts.tenancy import TenantReferences
from loyalty.sql import LEDGER, load, reload


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_tenant_references"),
        ("integrations", "0013_points_reading"),
        ("loyalty", "0023_rehearsal_and_usual_store"),
    ]

    operations = [
        migrations.CreateModel(
            name="Mirroring",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("since", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
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
                        related_name="mirrorings",
                        to="integrations.origin",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("ended_at", None)), fields=["account"], name="mirroring_live")
                ],
                "constraints": [models.UniqueConstraint(fields=("origin",), name="mirroring_once")],
            },
        ),
        migrations.CreateModel(
            name="PointsImport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("taken_at", models.DateTimeField()),
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
                        related_name="points_imports",
                        to="integrations.origin",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("origin",), name="points_import_once")],
            },
        ),
        TenantReferences("loyalty_mirroring", {"origin_id": "integrations_origin"}),
        TenantReferences("loyalty_pointsimport", {"origin_id": "integrations_origin"}),
        load("mirror"),
        reload(*LEDGER),
    ]
