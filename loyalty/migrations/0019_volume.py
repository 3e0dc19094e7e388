"""What a million rows asked for: archived personas by an index of their own; a boost looks at its group, not at everybody;
the sweep of what expired is told whose turn it is.

The index costs a till nothing: a redemption writes no persona, and only archived ones are in it.
"""

from django.db import migrations, models

from loyalty.sql import reload


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0018_people")]

    operations = [
        migrations.AddIndex(
            model_name="persona",
            index=models.Index(
                condition=models.Q(("archived_at__isnull", False)), fields=["account", "-id"], name="persona_archived"
            ),
        ),
        migrations.RunSQL(
            "DROP FUNCTION IF EXISTS loyalty_expire_due(bigint, integer, timestamptz)", migrations.RunSQL.noop
        ),
        reload("wallet", "settle_sales", "expire_due"),
    ]
