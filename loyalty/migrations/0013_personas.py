"""Seen last, first: by index; one investigation at a time."""

from django.conf import settings
from django.db import migrations, models

from aiqsync.accounts.migrating import Together


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_tenant_references"),
        ("loyalty", "0012_moves"),
        ("stores", "0003_not_ours"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        Together(
            migrations.RemoveIndex(
                model_name="persona",
                name="persona_seen",
            ),
            migrations.AddIndex(
                model_name="persona",
                index=models.Index(
                    models.F("account"),
                    models.OrderBy(models.F("last_seen_at"), descending=True, nulls_last=True),
                    models.OrderBy(models.F("id"), descending=True),
                    condition=models.Q(("merged_into", None)),
                    name="persona_seen",
                ),
            ),
            migrations.AddConstraint(
                model_name="investigation",
                constraint=models.UniqueConstraint(
                    condition=models.Q(("closed_at", None)), fields=("persona",), name="investigation_one_open"
                ),
            ),
        ),
    ]
