"""Outgoing webhooks, and the journal of redemptions whose state changed."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

import aiqsync.accounts.tenancy
from loyalty.sql import load

TRIGGER = """
CREATE TRIGGER loyalty_redemption_told AFTER UPDATE OF state ON loyalty_redemption FOR EACH ROW
WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION loyalty_note_redemption()
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_alerts"),
        ("loyalty", "0030_contacts"),
    ]

    operations = [
        migrations.CreateModel(
            name="WebhookCursor",
            fields=[
                ("source", models.CharField(max_length=20, primary_key=True, serialize=False)),
                ("upto", models.BigIntegerField()),
                ("mark", models.BigIntegerField(null=True)),
                ("mark_xid", models.BigIntegerField(null=True)),
                ("mark_at", models.DateTimeField(null=True)),
                ("waiting", models.JSONField(default=list)),
            ],
        ),
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("sending", "Being sent"),
                            ("delivered", "Delivered"),
                            ("failed", "Failed"),
                            ("dropped", "Not told"),
                        ],
                        default="waiting",
                        max_length=9,
                    ),
                ),
                (
                    "tries",
                    models.PositiveIntegerField(
                        default=0, help_text="Since it was made, or since somebody had it sent again."
                    ),
                ),
                ("next_at", models.DateTimeField()),
                ("token", models.CharField(blank=True, max_length=32)),
                ("status", models.PositiveSmallIntegerField(help_text="Of the last answer.", null=True)),
                ("created_at", models.DateTimeField()),
                ("done_at", models.DateTimeField(null=True)),
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
        ),
        migrations.CreateModel(
            name="WebhookAttempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("ms", models.PositiveIntegerField()),
                ("status", models.PositiveSmallIntegerField(null=True)),
                ("response", models.CharField(blank=True, help_text="How the answer's body begins.", max_length=1000)),
                ("error", models.CharField(blank=True, max_length=300)),
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
                    "delivery",
                    aiqsync.accounts.tenancy.TenantKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="attempts",
                        to="loyalty.webhookdelivery",
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="WebhookEndpoint",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("url", models.CharField(max_length=500)),
                ("description", models.CharField(blank=True, max_length=200)),
                ("events", models.JSONField(default=list)),
                ("secrets", models.TextField()),
                ("before_until", models.DateTimeField(null=True)),
                (
                    "state",
                    models.CharField(
                        choices=[("on", "On"), ("failing", "Failing"), ("paused", "Paused"), ("off", "Off")],
                        default="on",
                        max_length=8,
                    ),
                ),
                (
                    "why",
                    models.CharField(
                        blank=True, help_text="Why it is paused or off, when nobody did it here.", max_length=200
                    ),
                ),
                ("failures", models.PositiveIntegerField(default=0, help_text="In a row.")),
                ("failing_since", models.DateTimeField(null=True)),
                ("last_ok_at", models.DateTimeField(null=True)),
                ("hold_until", models.DateTimeField(null=True)),
                ("served_at", models.DateTimeField(help_text="When it last had its turn.", null=True)),
                ("created_at", models.DateTimeField()),
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
        ),
        migrations.AddField(
            model_name="webhookdelivery",
            name="endpoint",
            field=aiqsync.accounts.tenancy.TenantKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="loyalty.webhookendpoint",
            ),
        ),
        migrations.CreateModel(
            name="WebhookEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("public_id", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("key", models.CharField(help_text="Made of its cause: entry:12.", max_length=80)),
                ("kind", models.CharField(max_length=40)),
                ("payload", models.JSONField(help_text="Ids and figures; nothing that tells who somebody is.")),
                ("at", models.DateTimeField(help_text="When it happened.")),
                ("created_at", models.DateTimeField()),
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
            ],
        ),
        migrations.AddField(
            model_name="webhookdelivery",
            name="event",
            field=aiqsync.accounts.tenancy.TenantKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="loyalty.webhookevent",
            ),
        ),
        migrations.CreateModel(
            name="RedemptionChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("state", models.CharField(max_length=10)),
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
                    "redemption",
                    aiqsync.accounts.tenancy.TenantKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="changes",
                        to="loyalty.redemption",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["at"], name="redemption_change_age")],
            },
        ),
        migrations.AddConstraint(
            model_name="webhookendpoint",
            constraint=models.UniqueConstraint(fields=("account", "id"), name="webhookendpoint_account_id"),
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(fields=["created_at"], name="webhook_event_age"),
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("persona__isnull", False)), fields=["persona"], name="webhook_event_persona"
            ),
        ),
        migrations.AddConstraint(
            model_name="webhookevent",
            constraint=models.UniqueConstraint(fields=("account", "key"), name="webhook_event_once"),
        ),
        migrations.AddConstraint(
            model_name="webhookevent",
            constraint=models.UniqueConstraint(fields=("account", "id"), name="webhookevent_account_id"),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(
                condition=models.Q(("state__in", ["waiting", "sending"])),
                fields=["endpoint", "next_at", "id"],
                name="webhook_delivery_due",
            ),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(fields=["endpoint", "-id"], name="webhook_delivery_log"),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(fields=["endpoint", "state", "-id"], name="webhook_delivery_state"),
        ),
        migrations.AddConstraint(
            model_name="webhookdelivery",
            constraint=models.UniqueConstraint(fields=("event", "endpoint"), name="webhook_delivery_once"),
        ),
        migrations.AddConstraint(
            model_name="webhookdelivery",
            constraint=models.UniqueConstraint(fields=("account", "id"), name="webhookdelivery_account_id"),
        ),
        aiqsync.accounts.tenancy.TenantReferences("loyalty_webhookevent", {"persona_id": "loyalty_persona"}),
        aiqsync.accounts.tenancy.TenantReferences(
            "loyalty_webhookdelivery",
            {"event_id": "loyalty_webhookevent", "endpoint_id": "loyalty_webhookendpoint"},
        ),
        aiqsync.accounts.tenancy.TenantReferences("loyalty_webhookattempt", {"delivery_id": "loyalty_webhookdelivery"}),
        aiqsync.accounts.tenancy.TenantReferences("loyalty_redemptionchange", {"redemption_id": "loyalty_redemption"}),
        load("redemption_changes"),
        migrations.RunSQL(TRIGGER, "DROP TRIGGER IF EXISTS loyalty_redemption_told ON loyalty_redemption"),
    ]
