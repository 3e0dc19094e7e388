"""Overrides, attributes and referrals of contacts; their address; how the API's list is walked."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import aiqsync.accounts.tenancy
from aiqsync.accounts.tenancy import TenantReferences


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_alerts"),
        ("loyalty", "0029_lists"),
        ("stores", "0003_not_ours"),
    ]

    operations = [
        migrations.CreateModel(
            name="Attribute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("parent", models.CharField(blank=True, max_length=100)),
                ("key", models.CharField(max_length=100)),
                ("value", models.CharField(blank=True, max_length=1000)),
                ("said_at", models.DateTimeField(help_text="As the caller told it.", null=True)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name="Override",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "field",
                    models.CharField(
                        choices=[
                            ("first_name", "First name"),
                            ("last_name", "Last name"),
                            ("phone", "Phone"),
                            ("email", "E-mail"),
                            ("birth_date", "Birth date"),
                            ("address", "Address"),
                        ],
                        max_length=10,
                    ),
                ),
                ("value", models.CharField(max_length=300)),
                (
                    "seen",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=254), default=list, size=None
                    ),
                ),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name="Referral",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.AddField(
            model_name="persona",
            name="address",
            field=models.CharField(
                blank=True,
                db_default="",
                editable=False,
                help_text="In one line, as the shopper gave it; the POS's own stays with its record.",
                max_length=300,
            ),
        ),
        migrations.AddIndex(
            model_name="persona",
            index=models.Index(
                condition=models.Q(
                    ("archived_at", None), ("erased_at", None), ("is_test", False), ("merged_into", None)
                ),
                fields=["account", "name_key", "id"],
                name="persona_by_name",
            ),
        ),
        migrations.AddIndex(
            model_name="persona",
            index=models.Index(
                condition=models.Q(
                    ("archived_at", None), ("erased_at", None), ("is_test", False), ("merged_into", None)
                ),
                fields=["account", "member_from", "id"],
                name="persona_by_signup",
            ),
        ),
        migrations.AddField(
            model_name="attribute",
            name="account",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.account"
            ),
        ),
        migrations.AddField(
            model_name="attribute",
            name="persona",
            field=aiqsync.accounts.tenancy.TenantKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="attributes",
                to="loyalty.persona",
            ),
        ),
        migrations.AddField(
            model_name="override",
            name="account",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.account"
            ),
        ),
        migrations.AddField(
            model_name="override",
            name="persona",
            field=aiqsync.accounts.tenancy.TenantKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="overrides",
                to="loyalty.persona",
            ),
        ),
        migrations.AddField(
            model_name="referral",
            name="account",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.account"
            ),
        ),
        migrations.AddField(
            model_name="referral",
            name="referred",
            field=aiqsync.accounts.tenancy.TenantKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="referred_by",
                to="loyalty.persona",
            ),
        ),
        migrations.AddField(
            model_name="referral",
            name="referrer",
            field=aiqsync.accounts.tenancy.TenantKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="referrals",
                to="loyalty.persona",
            ),
        ),
        migrations.AddConstraint(
            model_name="attribute",
            constraint=models.UniqueConstraint(fields=("persona", "parent", "key"), name="attribute_once"),
        ),
        migrations.AddConstraint(
            model_name="override",
            constraint=models.UniqueConstraint(fields=("persona", "field"), name="override_once"),
        ),
        migrations.AddConstraint(
            model_name="referral",
            constraint=models.UniqueConstraint(fields=("referred",), name="referral_once"),
        ),
        migrations.AddConstraint(
            model_name="referral",
            constraint=models.CheckConstraint(
                condition=models.Q(("referrer", models.F("referred")), _negated=True), name="referral_two_people"
            ),
        ),
        TenantReferences("loyalty_override", {"persona_id": "loyalty_persona"}),
        TenantReferences("loyalty_attribute", {"persona_id": "loyalty_persona"}),
        TenantReferences("loyalty_referral", {"referrer_id": "loyalty_persona", "referred_id": "loyalty_persona"}),
    ]
