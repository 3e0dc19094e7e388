"""What a check of the ledger found; entries stay out of closed months."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from loyalty.sql import load


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_tenant_references"),
        ("loyalty", "0009_persona_names"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="LedgerCheck",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("violations", models.PositiveIntegerField()),
                ("rules", models.PositiveIntegerField()),
                (
                    "found",
                    models.JSONField(default=list, help_text="What is violated: rule, promise, how often, examples."),
                ),
                ("entries", models.PositiveBigIntegerField(default=0)),
                ("seconds", models.FloatField(default=0)),
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
                    "user",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["account", "-at"], name="ledger_check_latest")],
            },
        ),
        load("closed_month"),
        migrations.RunSQL(
            "CREATE TRIGGER loyalty_entry_open_month AFTER INSERT ON loyalty_entry REFERENCING NEW TABLE AS fresh "
            "FOR EACH STATEMENT EXECUTE FUNCTION loyalty_refuse_closed_month()",
            "DROP TRIGGER IF EXISTS loyalty_entry_open_month ON loyalty_entry",
        ),
    ]
