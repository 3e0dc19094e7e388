"""A split looks again at whom it holds; what is given back is held against its sale; an order is added before a sale only."""

from django.db import migrations

from loyalty.sql import reload


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0014_redeem")]

    operations = [reload("wallet", "moves", "redeem", "revert")]
