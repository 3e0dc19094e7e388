"""Points move with merges, splits and mirrors; redemptions look at the whole group; boosts; lots get another end."""

from django.db import migrations

from loyalty.sql import LEDGER, reload

# Functions whose arguments changed: the old ones would answer beside the new.
OLD = """
DROP FUNCTION IF EXISTS loyalty_take(bigint, bigint, bigint, numeric, bigint);
DROP FUNCTION IF EXISTS loyalty_post(bigint, bigint, text, numeric, text, bigint, bigint, bigint, text, jsonb,
                                     timestamptz, timestamptz);
DROP FUNCTION IF EXISTS loyalty_redeemed(loyalty_redemption, bigint, numeric, boolean);
DROP FUNCTION IF EXISTS loyalty_redeem(bigint, bigint, bigint, bigint, text, text, timestamptz, bigint, bigint, boolean);
DROP FUNCTION IF EXISTS loyalty_revert(bigint, uuid, numeric, text, text, timestamptz, bigint, text);
DROP FUNCTION IF EXISTS loyalty_settle_sales(bigint, timestamptz, bigint[], bigint[], numeric[], bigint[], jsonb[],
                                             timestamptz[], timestamptz[]);
"""


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0011_stop_wins")]

    operations = [migrations.RunSQL(OLD, migrations.RunSQL.noop), reload(*LEDGER)]
