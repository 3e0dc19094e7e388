"""A redemption that has met its sale is not given to another order."""

from django.db import migrations

from loyalty.sql import reload


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0005_redemption_order")]

    operations = [reload("redeem")]
