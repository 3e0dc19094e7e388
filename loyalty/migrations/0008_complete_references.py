"""References of the new tables carry the account; their lines are not changed; the triggers let an erasure take words out."""

from django.db import migrations

from aiqsync.accounts.tenancy import TenantReferences
from loyalty.sql import reload

REFS = {
    "loyalty_persona": {"favourite_store_id": "stores_store"},
    "loyalty_enrolment": {"store_id": "stores_store"},
    "loyalty_merge": {"survivor_id": "loyalty_persona", "loser_id": "loyalty_persona"},
    "loyalty_sourcemove": {
        "source_id": "loyalty_source",
        "from_persona_id": "loyalty_persona",
        "to_persona_id": "loyalty_persona",
    },
    "loyalty_notthesame": {"one_id": "loyalty_persona", "other_id": "loyalty_persona"},
    "loyalty_attachment": {"sale_id": "integrations_sale", "persona_id": "loyalty_persona"},
    "loyalty_investigation": {"persona_id": "loyalty_persona"},
    "loyalty_consentline": {"persona_id": "loyalty_persona", "store_id": "stores_store"},
    "loyalty_consentstate": {"line_id": "loyalty_consentline"},
    "loyalty_message": {"persona_id": "loyalty_persona"},
    "loyalty_pin": {"persona_id": "loyalty_persona"},
    "loyalty_sourcestart": {"origin_id": "integrations_origin"},
    "loyalty_audience": {"store_id": "stores_store"},
    "loyalty_modifier": {"audience_id": "loyalty_audience"},
    "loyalty_discountstore": {"discount_id": "loyalty_discount", "store_id": "stores_store"},
    "loyalty_discountaudience": {"discount_id": "loyalty_discount", "audience_id": "loyalty_audience"},
    "loyalty_discountimage": {"discount_id": "loyalty_discount"},
    "loyalty_audiencemember": {"audience_id": "loyalty_audience", "persona_id": "loyalty_persona"},
    "loyalty_couponcode": {"discount_id": "loyalty_discount", "redemption_id": "loyalty_redemption"},
    "loyalty_review": {"redemption_id": "loyalty_redemption", "sale_id": "integrations_sale"},
    "loyalty_entry": {"merge_id": "loyalty_merge"},
    "loyalty_booststate": {
        "modifier_id": "loyalty_modifier",
        "persona_id": "loyalty_persona",
        "sale_id": "integrations_sale",
    },
    "loyalty_mirrorstate": {"customer_id": "integrations_customer", "persona_id": "loyalty_persona"},
    "loyalty_monthfigure": {"close_id": "loyalty_monthclose", "store_id": "stores_store"},
}


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0007_loyalty_complete"), ("integrations", "0004_people_and_suppression")]

    operations = [
        *(TenantReferences(table, references) for table, references in REFS.items()),
        reload("append_only"),
        migrations.RunSQL(
            "CREATE TRIGGER loyalty_consentline_only_grows BEFORE UPDATE OR DELETE ON loyalty_consentline "
            "FOR EACH ROW EXECUTE FUNCTION loyalty_refuse_change()",
            "DROP TRIGGER IF EXISTS loyalty_consentline_only_grows ON loyalty_consentline",
        ),
    ]
