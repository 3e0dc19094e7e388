"""Sizes of audiences and how many are members, as they were counted last; the messages of an address by an index."""

import django.contrib.postgres.functions
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_alerts"),
        ("loyalty", "0028_api_calls"),
    ]

    operations = [
        migrations.AddField(
            model_name="audience",
            name="public_id",
            field=models.UUIDField(
                db_default=django.contrib.postgres.functions.RandomUUID(), editable=False, unique=True
            ),
        ),
        migrations.AddField(
            model_name="audience",
            name="size",
            field=models.PositiveIntegerField(
                default=0, editable=False, help_text="How many were in it when it was refreshed."
            ),
        ),
        migrations.AddField(
            model_name="programme",
            name="members",
            field=models.PositiveIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="programme",
            name="members_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="message",
            name="purpose",
            field=models.CharField(help_text="opt_in, confirm, pin, stopped, notice, transactional", max_length=16),
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(fields=["account", "address", "-id"], name="message_address"),
        ),
    ]
