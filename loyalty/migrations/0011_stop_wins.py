"""STOP wins over everything but the shopper's own START, in the database."""

from django.db import migrations

from loyalty.sql import load


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0010_reports")]

    operations = [
        load("consent"),
        migrations.RunSQL(
            "CREATE TRIGGER loyalty_consentstate_stop BEFORE UPDATE OR DELETE ON loyalty_consentstate FOR EACH ROW "
            "WHEN (OLD.state = 'stopped') EXECUTE FUNCTION loyalty_stop_wins()",
            "DROP TRIGGER IF EXISTS loyalty_consentstate_stop ON loyalty_consentstate",
        ),
    ]
