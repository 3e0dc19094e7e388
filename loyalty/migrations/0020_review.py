"""A reward that costs nothing is free while points are mirrored; a removed person's use waits for no order."""

from django.db import migrations

from loyalty.sql import reload


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0019_volume")]

    operations = [reload("redeem")]
