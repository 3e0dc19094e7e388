"""What had been refunded when somebody looked: more of it opens the case again. A fall takes back what expired first."""

from django.db import migrations, models

from loyalty.sql import LEDGER, reload


class Migration(migrations.Migration):
    dependencies = [
        ("loyalty", "0020_review"),
    ]

    operations = [
        migrations.AddField(
            model_name="review",
            name="refunded_cents",
            field=models.BigIntegerField(
                help_text="Of a refund: what had been refunded when it was looked at. More opens the case again.",
                null=True,
            ),
        ),
        reload(*LEDGER),
    ]
