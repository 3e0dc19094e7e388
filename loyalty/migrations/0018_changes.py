"""A changed expiry reaches lots that are used up too: points given back to them follow the programme of today."""

from django.db import migrations

from loyalty.sql import reload


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0014_redeem")]

    operations = [reload("reexpire")]
