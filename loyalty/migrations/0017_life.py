"""Which ways a redemption may go is the database's to say; one sale settles one use of a discount."""

from django.db import migrations, models
from django.db.models import F, Q

from aiqsync.accounts.migrating import Together
from loyalty.sql import LEDGER, load, reload

TRIGGER = """
CREATE TRIGGER loyalty_redemption_life BEFORE UPDATE ON loyalty_redemption FOR EACH ROW
WHEN (OLD.state IS DISTINCT FROM NEW.state
      OR (OLD.account_id, OLD.public_id, OLD.persona_id, OLD.asked_as_id, OLD.discount_id, OLD.n, OLD.points, OLD.applied_at)
      IS DISTINCT FROM
      (NEW.account_id, NEW.public_id, NEW.persona_id, NEW.asked_as_id, NEW.discount_id, NEW.n, NEW.points, NEW.applied_at))
EXECUTE FUNCTION loyalty_refuse_redemption()
"""


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0016_discounts")]

    operations = [
        Together(
            migrations.AddConstraint(
                model_name="redemption",
                constraint=models.UniqueConstraint(
                    condition=Q(("sale__isnull", False), ("state", "settled")),
                    fields=("sale", "discount"),
                    name="redemption_sale_once",
                ),
            ),
            migrations.AddConstraint(
                model_name="redemption",
                constraint=models.CheckConstraint(
                    condition=Q(("ended_at", None), ("state__in", ["applied", "settled"]), ("why_ended", ""))
                    | Q(
                        ("ended_at__isnull", False),
                        ("reverted_points", F("points")),
                        ("state__in", ["released", "reverted"]),
                    ),
                    name="redemption_ended",
                ),
            ),
            migrations.AddConstraint(
                model_name="redemption",
                constraint=models.CheckConstraint(
                    condition=~Q(state="applied") | Q(("sale", None), ("settled_at", None)), name="redemption_applied"
                ),
            ),
            migrations.AddConstraint(
                model_name="redemption",
                constraint=models.CheckConstraint(
                    condition=~Q(state="settled") | Q(settled_at__isnull=False), name="redemption_settled"
                ),
            ),
            migrations.AddIndex(
                model_name="redemption",
                index=models.Index(
                    condition=Q(("matched_by", "transaction")),
                    fields=["account", "-applied_at"],
                    name="redemption_by_number",
                ),
            ),
        ),
        load("redemption_life"),
        migrations.RunSQL(TRIGGER, "DROP TRIGGER IF EXISTS loyalty_redemption_life ON loyalty_redemption"),
        reload(*LEDGER),
    ]
