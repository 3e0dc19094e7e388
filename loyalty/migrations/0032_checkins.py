"""The waiting room."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

import aiqsync.accounts.tenancy


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_alerts"),
        ("loyalty", "0031_webhooks"),
        ("stores", "0003_not_ours"),
    ]

    operations = [
        migrations.CreateModel(
            name="CheckIn",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("public_id", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("first_name", models.CharField(blank=True, max_length=60)),
                ("initial", models.CharField(blank=True, help_text="Of the last name.", max_length=1)),
                ("phone", models.CharField(blank=True, max_length=20)),
                ("email", models.CharField(blank=True, max_length=254)),
                (
                    "reason",
                    models.CharField(
                        blank=True, help_text="Why they came: pick-up, recreational, medical.", max_length=60
                    ),
                ),
                ("order", models.CharField(blank=True, help_text="What they want, in their words.", max_length=500)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("serving", "Being served"),
                            ("served", "Served"),
                            ("skipped", "Skipped"),
                            ("no-show", "No-show"),
                        ],
                        default="waiting",
                        max_length=8,
                    ),
                ),
                ("at", models.DateTimeField()),
                ("changed_at", models.DateTimeField()),
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
                        help_text="What took it.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.apikey",
                    ),
                ),
                (
                    "persona",
                    aiqsync.accounts.tenancy.TenantKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="loyalty.persona",
                    ),
                ),
                (
                    "store",
                    aiqsync.accounts.tenancy.TenantKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="checkins",
                        to="stores.store",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["store", "state", "at", "id"], name="checkin_queue"),
                    models.Index(
                        condition=models.Q(("persona__isnull", False)), fields=["persona"], name="checkin_persona"
                    ),
                    models.Index(fields=["at"], name="checkin_age"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ["waiting", "serving"])),
                        fields=("store", "persona"),
                        name="checkin_one_open",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(
                            ("state__in", ["waiting", "serving"]), models.Q(("phone", ""), _negated=True)
                        ),
                        fields=("store", "phone"),
                        name="checkin_one_phone",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(
                            ("state__in", ["waiting", "serving"]), models.Q(("email", ""), _negated=True)
                        ),
                        fields=("store", "email"),
                        name="checkin_one_email",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["waiting", "serving"]),
                            models.Q(("email", ""), ("phone", "")),
                            _connector="OR",
                        ),
                        name="checkin_ended_nameless",
                    ),
                ],
            },
        ),
        aiqsync.accounts.tenancy.TenantReferences(
            "loyalty_checkin",
            {"store_id": "stores_store", "persona_id": "loyalty_persona", "key_id": "accounts_apikey"},
        ),
    ]
