"""Per-store switch: a code before anything is redeemed."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("stores", "0004_store_on_the_web"),
    ]

    operations = [
        migrations.AddField(
            model_name="store",
            name="require_pin",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="A till with a key of this store sees points and discounts, and can redeem only after the shopper's code, or the master PIN, was entered there: for 15 minutes. Keys without a store are not asked.",
                verbose_name="require PIN",
            ),
        ),
    ]
