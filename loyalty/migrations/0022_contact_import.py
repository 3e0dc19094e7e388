"""What another loyalty service called people, and which records its export named."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import aiqsync.accounts.tenancy
from aiqsync.accounts.tenancy import TenantReferences


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_tenant_references"),
        ("integrations", "0009_uploads"),
        ("loyalty", "0021_refunds_decided"),
    ]

    operations = [
        migrations.CreateModel(
            name="ContactAlias",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("alias", models.CharField(max_length=100)),
                (
                    "points",
                    models.DecimalField(
                        decimal_places=2, help_text="In the export; may be negative there.", max_digits=14
                    ),
                ),
                (
                    "member_since",
                    models.DateField(help_text="As the export has it; what earns is the enrolment's day.", null=True),
                ),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
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
                        related_name="+",
                        to="integrations.origin",
                    ),
                ),
                (
                    "persona",
                    aiqsync.accounts.tenancy.TenantKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="aliases",
                        to="loyalty.persona",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["origin"], name="contact_alias_origin")],
                "constraints": [models.UniqueConstraint(fields=("account", "alias"), name="contact_alias_once")],
            },
        ),
        migrations.CreateModel(
            name="SourceHint",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("platform", models.CharField(max_length=40)),
                ("external_id", models.CharField(max_length=100)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
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
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="source_hints",
                        to="loyalty.persona",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("account", "platform", "external_id"), name="source_hint_once")
                ],
            },
        ),
        TenantReferences("loyalty_contactalias", {"persona_id": "loyalty_persona", "origin_id": "integrations_origin"}),
        TenantReferences("loyalty_sourcehint", {"persona_id": "loyalty_persona"}),
    ]
