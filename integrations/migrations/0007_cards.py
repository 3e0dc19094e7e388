"""What cards set in motion: changes, writes, who stayed outside, balances; products, stock and words of the POS."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import aiqsync.accounts.tenancy
from aiqsync.accounts.migrating import Together
from aiqsync.accounts.tenancy import TenantReferences


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_tenant_references"),
        ("integrations", "0006_merged_customers"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        Together(
            migrations.AddField(
                model_name="connection",
                name="frozen_at",
                field=models.DateTimeField(
                    help_text="Use last backup: no call to the POS in either direction.", null=True
                ),
            ),
            migrations.AddField(
                model_name="connection",
                name="since",
                field=models.JSONField(default=dict, help_text="Setting -> moment it was turned on, as ISO text."),
            ),
            migrations.AddField(
                model_name="credential",
                name="frozen_at",
                field=models.DateTimeField(null=True),
            ),
            migrations.AddField(
                model_name="credential",
                name="settings",
                field=models.JSONField(default=dict, help_text="The settings that belong to one credential."),
            ),
            migrations.CreateModel(
                name="CustomerBalance",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    ("external_id", models.CharField(help_text="The customer's id in the POS.", max_length=100)),
                    ("points", models.DecimalField(decimal_places=2, max_digits=14)),
                    ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                        "location",
                        aiqsync.accounts.tenancy.TenantKey(
                            db_constraint=False,
                            null=True,
                            on_delete=django.db.models.deletion.PROTECT,
                            related_name="+",
                            to="integrations.location",
                        ),
                    ),
                    (
                        "origin",
                        aiqsync.accounts.tenancy.TenantKey(
                            db_constraint=False,
                            on_delete=django.db.models.deletion.PROTECT,
                            related_name="balances",
                            to="integrations.origin",
                        ),
                    ),
                ],
                options={
                    "constraints": [
                        models.UniqueConstraint(fields=("origin", "external_id"), name="customer_balance_once")
                    ],
                },
            ),
            migrations.CreateModel(
                name="OutboundWrite",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    ("writer", models.CharField(max_length=40)),
                    (
                        "key",
                        models.CharField(help_text="Its cause: the same cause twice is one write.", max_length=120),
                    ),
                    ("subject", models.CharField(max_length=60)),
                    ("payload", models.JSONField(default=dict)),
                    (
                        "state",
                        models.CharField(
                            choices=[
                                ("waiting", "Waiting"),
                                ("sending", "Being sent"),
                                ("sent", "Created"),
                                ("found", "Was there already"),
                                ("failed", "Failed"),
                                ("given_up", "Given up"),
                                ("not_needed", "Not needed any more"),
                            ],
                            default="waiting",
                            max_length=10,
                        ),
                    ),
                    ("attempts", models.PositiveIntegerField(default=0)),
                    ("next_try_at", models.DateTimeField(default=django.utils.timezone.now)),
                    ("token", models.CharField(blank=True, max_length=32)),
                    ("lease_until", models.DateTimeField(null=True)),
                    (
                        "asked_at",
                        models.DateTimeField(
                            help_text="When a create went out whose answer was not saved: it may be there.", null=True
                        ),
                    ),
                    ("external_id", models.CharField(blank=True, max_length=100)),
                    ("message", models.TextField(blank=True)),
                    ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                            related_name="writes",
                            to="integrations.origin",
                        ),
                    ),
                ],
                options={
                    "indexes": [
                        models.Index(
                            condition=models.Q(("state__in", ["waiting", "sending"])),
                            fields=["next_try_at"],
                            name="write_due",
                        ),
                        models.Index(
                            condition=models.Q(("state__in", ["waiting", "sending", "failed"])),
                            fields=["origin", "subject", "id"],
                            name="write_order",
                        ),
                        models.Index(fields=["account", "subject"], name="write_subject"),
                    ],
                    "constraints": [
                        models.UniqueConstraint(fields=("origin", "key"), name="write_once"),
                        models.UniqueConstraint(fields=("account", "id"), name="outboundwrite_account_id"),
                    ],
                },
            ),
            migrations.CreateModel(
                name="OutsideMarket",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    ("external_id", models.CharField(max_length=100)),
                    ("state", models.CharField(blank=True, max_length=20)),
                    ("phone_digest", models.CharField(blank=True, max_length=64)),
                    ("email_digest", models.CharField(blank=True, max_length=64)),
                    ("seen_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                            related_name="outside_market",
                            to="integrations.origin",
                        ),
                    ),
                ],
                options={
                    "indexes": [
                        models.Index(
                            condition=models.Q(("phone_digest", ""), _negated=True),
                            fields=["account", "phone_digest"],
                            name="outside_phone",
                        ),
                        models.Index(
                            condition=models.Q(("email_digest", ""), _negated=True),
                            fields=["account", "email_digest"],
                            name="outside_email",
                        ),
                    ],
                    "constraints": [
                        models.UniqueConstraint(fields=("origin", "external_id"), name="outside_market_once")
                    ],
                },
            ),
            migrations.CreateModel(
                name="Product",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    ("external_id", models.CharField(max_length=100)),
                    ("sku", models.CharField(blank=True, max_length=100)),
                    ("name", models.CharField(blank=True, max_length=300)),
                    ("category", models.CharField(blank=True, max_length=200)),
                    ("brand", models.CharField(blank=True, max_length=200)),
                    (
                        "unit",
                        models.CharField(blank=True, help_text="Empty for pieces, g for weight goods.", max_length=10),
                    ),
                    ("price_cents", models.BigIntegerField(null=True)),
                    ("cost_cents", models.BigIntegerField(null=True)),
                    (
                        "tracks_stock",
                        models.BooleanField(help_text="Whether the POS counts it; empty: it does not say.", null=True),
                    ),
                    ("active", models.BooleanField(default=True)),
                    ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                            related_name="products",
                            to="integrations.origin",
                        ),
                    ),
                ],
                options={
                    "indexes": [
                        models.Index(
                            condition=models.Q(("sku", ""), _negated=True), fields=["origin", "sku"], name="product_sku"
                        )
                    ],
                    "constraints": [models.UniqueConstraint(fields=("origin", "external_id"), name="product_once")],
                },
            ),
            migrations.CreateModel(
                name="SettingChange",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    ("setting", models.CharField(max_length=40)),
                    ("before", models.JSONField(null=True)),
                    ("after", models.JSONField(null=True)),
                    (
                        "state",
                        models.CharField(
                            choices=[
                                ("counting", "Being counted"),
                                ("counted", "Waiting for your word"),
                                ("applying", "Being applied"),
                                ("applied", "Applied"),
                                ("stopped", "Stopped"),
                                ("failed", "Failed"),
                                ("dismissed", "Dismissed"),
                            ],
                            default="counting",
                            max_length=9,
                        ),
                    ),
                    ("counted", models.JSONField(default=dict)),
                    ("sample", models.JSONField(default=list)),
                    ("applied", models.JSONField(default=dict)),
                    ("message", models.TextField(blank=True)),
                    ("made_at", models.DateTimeField(default=django.utils.timezone.now)),
                    ("confirmed_at", models.DateTimeField(null=True)),
                    ("applied_at", models.DateTimeField(null=True)),
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
                        "confirmed_by",
                        models.ForeignKey(
                            null=True,
                            on_delete=django.db.models.deletion.SET_NULL,
                            related_name="+",
                            to=settings.AUTH_USER_MODEL,
                        ),
                    ),
                    (
                        "connection",
                        aiqsync.accounts.tenancy.TenantKey(
                            db_constraint=False,
                            on_delete=django.db.models.deletion.PROTECT,
                            related_name="changes",
                            to="integrations.connection",
                        ),
                    ),
                    (
                        "made_by",
                        models.ForeignKey(
                            null=True,
                            on_delete=django.db.models.deletion.SET_NULL,
                            related_name="+",
                            to=settings.AUTH_USER_MODEL,
                        ),
                    ),
                ],
                options={
                    "constraints": [
                        models.UniqueConstraint(
                            condition=models.Q(("state__in", ("counting", "counted", "applying", "stopped", "failed"))),
                            fields=("connection", "setting"),
                            name="one_open_change",
                        ),
                        models.UniqueConstraint(fields=("account", "id"), name="settingchange_account_id"),
                    ],
                },
            ),
            migrations.CreateModel(
                name="Stock",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    (
                        "external_id",
                        models.CharField(help_text="product|location, by the vendor's ids", max_length=201),
                    ),
                    (
                        "product_id",
                        models.CharField(
                            help_text="The vendor's id: stock may come before its product.", max_length=100
                        ),
                    ),
                    ("quantity", models.DecimalField(decimal_places=4, max_digits=14)),
                    ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                        "location",
                        aiqsync.accounts.tenancy.TenantKey(
                            db_constraint=False,
                            null=True,
                            on_delete=django.db.models.deletion.PROTECT,
                            related_name="stock",
                            to="integrations.location",
                        ),
                    ),
                    (
                        "origin",
                        aiqsync.accounts.tenancy.TenantKey(
                            db_constraint=False,
                            on_delete=django.db.models.deletion.PROTECT,
                            related_name="stock",
                            to="integrations.origin",
                        ),
                    ),
                ],
                options={
                    "verbose_name_plural": "stock",
                    "indexes": [models.Index(fields=["origin", "product_id"], name="stock_product")],
                    "constraints": [models.UniqueConstraint(fields=("origin", "external_id"), name="stock_once")],
                },
            ),
            migrations.CreateModel(
                name="Term",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    (
                        "external_id",
                        models.CharField(
                            help_text="kind:id; the vendor's ids are unique within a kind only.", max_length=120
                        ),
                    ),
                    (
                        "kind",
                        models.CharField(
                            choices=[
                                ("employee", "Employee"),
                                ("tender", "Tender"),
                                ("order_type", "Order type"),
                                ("category", "Category"),
                            ],
                            max_length=12,
                        ),
                    ),
                    ("name", models.CharField(blank=True, max_length=200)),
                    ("active", models.BooleanField(default=True)),
                    ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                            related_name="terms",
                            to="integrations.origin",
                        ),
                    ),
                ],
                options={
                    "constraints": [models.UniqueConstraint(fields=("origin", "external_id"), name="term_once")],
                },
            ),
        ),
        TenantReferences("integrations_product", {"origin_id": "integrations_origin"}),
        TenantReferences("integrations_term", {"origin_id": "integrations_origin"}),
        TenantReferences(
            "integrations_stock", {"origin_id": "integrations_origin", "location_id": "integrations_location"}
        ),
        TenantReferences("integrations_settingchange", {"connection_id": "integrations_connection"}),
        TenantReferences("integrations_outboundwrite", {"origin_id": "integrations_origin"}),
        TenantReferences("integrations_outsidemarket", {"origin_id": "integrations_origin"}),
        TenantReferences(
            "integrations_customerbalance",
            {"origin_id": "integrations_origin", "location_id": "integrations_location"},
        ),
    ]
