"""A use knows whose address was asked; a redemption keeps one plan; its parts given back can be told from each other."""

import django.db.models.deletion
from django.db import migrations, models

from aiqsync.accounts.migrating import Together
from aiqsync.accounts.tenancy import TenantKey, TenantReferences
from loyalty.sql import LEDGER, reload

# Its language changed (one plan for all calls), its arguments did not.
OLD = "DROP FUNCTION IF EXISTS loyalty_redeemed(loyalty_redemption, loyalty_discount, numeric, boolean)"


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0013_personas")]

    operations = [
        migrations.AddField(
            model_name="redemption",
            name="asked_as",
            field=TenantKey(
                db_index=False,
                help_text="Whose address was used, when that row had been merged into the persona by then.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="loyalty.persona",
            ),
        ),
        TenantReferences("loyalty_redemption", {"asked_as_id": "loyalty_persona"}),
        Together(
            migrations.AlterField(
                model_name="redemption",
                name="account",
                field=models.ForeignKey(
                    db_constraint=False,
                    db_index=False,
                    editable=False,
                    on_delete=django.db.models.deletion.PROTECT,
                    related_name="+",
                    to="accounts.account",
                ),
            ),
            migrations.AlterField(
                model_name="redemption",
                name="persona",
                field=TenantKey(
                    db_index=False,
                    on_delete=django.db.models.deletion.PROTECT,
                    related_name="redemptions",
                    to="loyalty.persona",
                ),
            ),
            migrations.AddIndex(
                model_name="redemption",
                index=models.Index(
                    condition=models.Q(("asked_as__isnull", False)),
                    fields=["asked_as", "discount", "n"],
                    name="redemption_asked_as",
                ),
            ),
            migrations.AddIndex(
                model_name="redemption",
                index=models.Index(
                    condition=models.Q(("state__in", ["released", "reverted"])),
                    fields=["persona", "transaction"],
                    name="redemption_given_back",
                ),
            ),
        ),
        migrations.RunSQL(OLD, migrations.RunSQL.noop),
        reload(*LEDGER),
    ]
