"""A redemption that has met its sale is not given to another order."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0005_redemption_order")]

    operations = []
