"""Wallets of removed people are closed; what they said and where, the journal may forget; the ledger knows how."""

from django.db import migrations, models

from loyalty.sql import LEDGER, reload


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0014_redeem")]

    operations = [
        migrations.AddField(
            model_name="wallet",
            name="closed",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Its person was removed: nothing comes in."
            ),
        ),
        migrations.AddConstraint(
            model_name="wallet",
            constraint=models.CheckConstraint(
                condition=models.Q(("closed", False), ("balance", 0), _connector="OR"), name="wallet_closed_empty"
            ),
        ),
        reload("append_only", *LEDGER),
    ]
