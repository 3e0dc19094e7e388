"""Codes that came by a key, and the version of a shopper's page address."""

import django.db.models.deletion
from django.db import migrations, models

import aiqsync.accounts.tenancy
from aiqsync.accounts.tenancy import TenantReferences


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_keys"),
        ("loyalty", "0032_checkins"),
        ("stores", "0005_require_pin"),
    ]

    operations = [
        migrations.AddField(
            model_name="persona",
            name="link_version",
            field=models.PositiveIntegerField(
                db_default=0,
                default=0,
                editable=False,
                help_text="Of the addresses of the shopper's page: raised, those that are out end.",
            ),
        ),
        migrations.CreateModel(
            name="PinUse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("pin", "a code that was sent"),
                            ("shown", "the code of the shopper's page"),
                            ("master", "the master PIN"),
                            ("wrong", "a wrong code"),
                        ],
                        max_length=6,
                    ),
                ),
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
                (
                    "key",
                    aiqsync.accounts.tenancy.TenantKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="pin_uses",
                        to="accounts.apikey",
                    ),
                ),
                (
                    "persona",
                    aiqsync.accounts.tenancy.TenantKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="pin_uses",
                        to="loyalty.persona",
                    ),
                ),
                (
                    "store",
                    aiqsync.accounts.tenancy.TenantKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="stores.store",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["key", "persona", "-at"], name="pin_use_proof"),
                    models.Index(condition=models.Q(("kind", "wrong")), fields=["key", "-at"], name="pin_use_wrong"),
                    models.Index(fields=["at"], name="pin_use_at"),
                ],
            },
        ),
        TenantReferences(
            "loyalty_pinuse",
            {"persona_id": "loyalty_persona", "key_id": "accounts_apikey", "store_id": "stores_store"},
        ),
    ]
