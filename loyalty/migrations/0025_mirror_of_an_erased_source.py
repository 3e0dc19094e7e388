"""The record of an erased source no longer says what a wallet holds: its source may be mirrored again."""

from django.db import migrations

from loyalty.sql import reload


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0024_pos_points")]

    operations = [reload("mirror")]
