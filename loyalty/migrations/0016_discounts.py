"""A discount has a logo and a cover, and keeps what its last check found; an order carries as many as its card takes."""

import django.db.models.deletion
from django.db import migrations, models

from aiqsync.accounts.migrating import Together
from aiqsync.accounts.tenancy import TenantKey
from loyalty.sql import reload

# A switch became a number: the old function would answer beside the new one.
OLD = """
DROP FUNCTION IF EXISTS loyalty_redeem(bigint, bigint, bigint, bigint, text, text, timestamptz, bigint, bigint, boolean,
                                       bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0015_erasure")]

    operations = [
        Together(
            migrations.AddField(
                model_name="discount",
                name="problem",
                field=models.CharField(blank=True, db_default="", default="", editable=False, max_length=500),
            ),
            migrations.AddField(
                model_name="discount",
                name="checked_at",
                field=models.DateTimeField(editable=False, null=True),
            ),
            migrations.RemoveConstraint(model_name="discountimage", name="discount_image_once"),
            migrations.AddField(
                model_name="discountimage",
                name="kind",
                field=models.CharField(choices=[("logo", "Logo"), ("cover", "Cover")], default="logo", max_length=5),
            ),
            migrations.AddField(
                model_name="discountimage",
                name="width",
                field=models.PositiveSmallIntegerField(default=0),
            ),
            migrations.AddField(
                model_name="discountimage",
                name="height",
                field=models.PositiveSmallIntegerField(default=0),
            ),
            migrations.AlterField(
                model_name="discountimage",
                name="discount",
                field=TenantKey(
                    db_index=False,
                    on_delete=django.db.models.deletion.CASCADE,
                    related_name="images",
                    to="loyalty.discount",
                ),
            ),
            migrations.AddConstraint(
                model_name="discountimage",
                constraint=models.UniqueConstraint(fields=("discount", "kind"), name="discount_image_once"),
            ),
            migrations.AddConstraint(
                model_name="discountimage",
                constraint=models.CheckConstraint(
                    condition=models.Q(("content_type__in", ["image/png", "image/jpeg"])), name="discount_image_type"
                ),
            ),
        ),
        migrations.RunSQL(OLD, migrations.RunSQL.noop),
        reload("redeem"),
    ]
