"""Files that merchants send."""

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
        ("integrations", "0008_call_allowance"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        Together(
            migrations.CreateModel(
                name="Upload",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    (
                        "kind",
                        models.CharField(blank=True, help_text="customers, sales, inventory, contacts", max_length=12),
                    ),
                    ("name", models.CharField(max_length=200)),
                    (
                        "came",
                        models.CharField(
                            choices=[("page", "Uploaded"), ("folder", "Folder"), ("bucket", "Bucket")],
                            default="page",
                            max_length=8,
                        ),
                    ),
                    (
                        "place",
                        models.CharField(
                            blank=True, help_text="Path and version, when it was fetched.", max_length=700
                        ),
                    ),
                    ("size", models.PositiveBigIntegerField(default=0)),
                    ("sha256", models.CharField(blank=True, max_length=64)),
                    (
                        "state",
                        models.CharField(
                            choices=[
                                ("receiving", "Coming in"),
                                ("choosing", "Columns to choose"),
                                ("queued", "Waiting"),
                                ("running", "Being read"),
                                ("counted", "To confirm"),
                                ("done", "Read"),
                                ("failed", "Not read"),
                                ("stopped", "Stopped"),
                                ("dismissed", "Put away"),
                            ],
                            default="receiving",
                            max_length=10,
                        ),
                    ),
                    ("counting", models.BooleanField(default=False, help_text="The dry run: nothing is written.")),
                    ("shape", models.JSONField(default=dict, help_text="Form, encoding, separator, header.")),
                    ("mapping", models.JSONField(default=dict, help_text="Header to meaning.")),
                    ("day_order", models.CharField(blank=True, help_text="mdy, dmy, ymd", max_length=3)),
                    (
                        "earn_from",
                        models.DateField(help_text="Of a contact export: sales from this day on earn.", null=True),
                    ),
                    ("position", models.PositiveBigIntegerField(default=0)),
                    ("number", models.PositiveIntegerField(default=0, help_text="Of the last row that was read.")),
                    ("rows_read", models.PositiveIntegerField(default=0)),
                    ("rows_new", models.PositiveIntegerField(default=0)),
                    ("rows_changed", models.PositiveIntegerField(default=0)),
                    ("rows_unchanged", models.PositiveIntegerField(default=0)),
                    ("rows_refused", models.PositiveIntegerField(default=0)),
                    ("counted", models.JSONField(default=dict)),
                    ("applied", models.JSONField(default=dict)),
                    ("token", models.CharField(blank=True, max_length=32)),
                    ("lease_until", models.DateTimeField(null=True)),
                    (
                        "attempts",
                        models.PositiveIntegerField(default=0, help_text="Deliveries that ended without saving rows."),
                    ),
                    ("message", models.TextField(blank=True)),
                    ("confirmed_at", models.DateTimeField(null=True)),
                    ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                    ("queued_at", models.DateTimeField(null=True)),
                    ("started_at", models.DateTimeField(null=True)),
                    ("finished_at", models.DateTimeField(null=True)),
                    ("body_gone_at", models.DateTimeField(null=True)),
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
                        "made_by",
                        models.ForeignKey(
                            null=True,
                            on_delete=django.db.models.deletion.SET_NULL,
                            related_name="+",
                            to=settings.AUTH_USER_MODEL,
                        ),
                    ),
                    (
                        "origin",
                        aiqsync.accounts.tenancy.TenantKey(
                            db_constraint=False,
                            on_delete=django.db.models.deletion.PROTECT,
                            related_name="uploads",
                            to="integrations.origin",
                        ),
                    ),
                ],
            ),
            migrations.CreateModel(
                name="UploadChunk",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    ("start", models.PositiveBigIntegerField()),
                    ("data", models.BinaryField()),
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
                        "upload",
                        aiqsync.accounts.tenancy.TenantKey(
                            db_constraint=False,
                            on_delete=django.db.models.deletion.CASCADE,
                            related_name="chunks",
                            to="integrations.upload",
                        ),
                    ),
                ],
            ),
            migrations.CreateModel(
                name="UploadError",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    ("number", models.PositiveIntegerField()),
                    ("reason", models.CharField(max_length=1000)),
                    ("cells", models.JSONField(default=list)),
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
                        "upload",
                        aiqsync.accounts.tenancy.TenantKey(
                            db_constraint=False,
                            on_delete=django.db.models.deletion.CASCADE,
                            related_name="errors",
                            to="integrations.upload",
                        ),
                    ),
                ],
            ),
            migrations.CreateModel(
                name="ColumnMapping",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    ("kind", models.CharField(max_length=12)),
                    ("columns", models.JSONField(default=dict)),
                    ("day_order", models.CharField(blank=True, max_length=3)),
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
                            related_name="column_mappings",
                            to="integrations.origin",
                        ),
                    ),
                ],
                options={
                    "constraints": [models.UniqueConstraint(fields=("origin", "kind"), name="column_mapping_once")],
                },
            ),
        ),
        Together(
            migrations.AddIndex(
                model_name="upload",
                index=models.Index(fields=["account", "-id"], name="upload_latest"),
            ),
            migrations.AddIndex(
                model_name="upload",
                index=models.Index(
                    condition=models.Q(("state__in", ["queued", "running"])), fields=["queued_at"], name="upload_live"
                ),
            ),
            migrations.AddConstraint(
                model_name="upload",
                constraint=models.UniqueConstraint(fields=("account", "id"), name="upload_account_id"),
            ),
            migrations.AddConstraint(
                model_name="upload",
                constraint=models.UniqueConstraint(
                    condition=models.Q(("place", ""), _negated=True),
                    fields=("origin", "place"),
                    name="upload_place_once",
                ),
            ),
            migrations.AddConstraint(
                model_name="uploadchunk",
                constraint=models.UniqueConstraint(fields=("upload", "start"), name="upload_chunk_once"),
            ),
            migrations.AddConstraint(
                model_name="uploaderror",
                constraint=models.UniqueConstraint(fields=("upload", "number"), name="upload_error_once"),
            ),
        ),
        TenantReferences("integrations_upload", {"origin_id": "integrations_origin"}),
        TenantReferences("integrations_uploadchunk", {"upload_id": "integrations_upload"}),
        TenantReferences("integrations_uploaderror", {"upload_id": "integrations_upload"}),
        TenantReferences("integrations_columnmapping", {"origin_id": "integrations_origin"}),
    ]
