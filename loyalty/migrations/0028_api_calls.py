"""Answers kept for an Idempotency-Key, and calls that could not be placed."""

import django.db.models.deletion
from django.db import migrations, models

import aiqsync.accounts.tenancy
from aiqsync.accounts.tenancy import TenantReferences
from loyalty.sql import load


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_alerts"),
        ("loyalty", "0027_waiting_balances"),
    ]

    operations = [
        migrations.CreateModel(
            name="IdempotentCall",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=255)),
                (
                    "fingerprint",
                    models.CharField(help_text="SHA-256 of method, path with query, and body.", max_length=64),
                ),
                ("status", models.PositiveSmallIntegerField()),
                ("body", models.TextField(help_text="The bytes that were answered: JSON.")),
                ("at", models.DateTimeField()),
                (
                    "account",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.account",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["at"], name="idempotent_call_at")],
                "constraints": [models.UniqueConstraint(fields=("account", "key"), name="idempotent_call_once")],
            },
        ),
        migrations.CreateModel(
            name="UnmatchedCall",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("method", models.CharField(max_length=10)),
                ("path", models.CharField(max_length=500)),
                ("status", models.PositiveSmallIntegerField()),
                ("reason", models.CharField(max_length=300)),
                ("body", models.TextField(blank=True)),
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
                    "key",
                    aiqsync.accounts.tenancy.TenantKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="unmatched_calls",
                        to="accounts.apikey",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["key", "-at"], name="unmatched_call_key_at"),
                    models.Index(fields=["account", "-at"], name="unmatched_call_latest"),
                    models.Index(fields=["at"], name="unmatched_call_at"),
                ],
            },
        ),
        TenantReferences("loyalty_unmatchedcall", {"key_id": "accounts_apikey"}),
        load("once"),
    ]
