"""What is given back and goes on to somebody who is mirrored leaves the POS's balance as it is.

A split knows imported points by their exact key, and takes all mirrored records of those who leave along.
"""

from django.db import migrations

from loyalty.sql import reload


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0025_mirror_of_an_erased_source")]

    operations = [reload("mirror", "moves", "revert")]
