"""One constraint serves both questions about an order: the same discount again, another discount on it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0004_lean_ledger")]

    operations = [
        migrations.RemoveConstraint(model_name="redemption", name="redemption_transaction_once"),
        migrations.AddConstraint(
            model_name="redemption",
            constraint=models.UniqueConstraint(
                condition=models.Q(models.Q(("transaction", ""), _negated=True), ("state__in", ["applied", "settled"])),
                fields=("persona", "transaction", "discount"),
                name="redemption_transaction_once",
            ),
        ),
    ]
