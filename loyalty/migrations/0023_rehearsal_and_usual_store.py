"""Rehearsals and their test shoppers; the store that the sales say is somebody's favourite, kept beside the choice."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import aiqsync.accounts.tenancy
from aiqsync.accounts.migrating import Together
from aiqsync.accounts.tenancy import TenantReferences

FILL = """
UPDATE loyalty_persona p SET usual_store_id = f.store_id FROM (
    SELECT DISTINCT ON (persona_id) persona_id, store_id FROM (
        SELECT st.persona_id, m.store_id, count(*) AS visits, max(s.sold_at) AS latest FROM loyalty_salestate st
        JOIN integrations_sale s ON s.id = st.sale_id AND s.kind = 'sale'
        JOIN stores_storemapping m ON m.location_id = s.location_id AND m.store_id IS NOT NULL
        WHERE st.persona_id IS NOT NULL GROUP BY 1, 2
    ) v ORDER BY persona_id, visits DESC, latest DESC, store_id
) f WHERE p.id = f.persona_id AND p.erased_at IS NULL
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_alerts"),
        ("integrations", "0007_cards"),
        ("loyalty", "0022_contact_import"),
        ("stores", "0003_not_ours"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        Together(
            migrations.CreateModel(
                name="Rehearsal",
                fields=[
                    (
                        "id",
                        models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                    ),
                    (
                        "address",
                        models.CharField(help_text="Where tills reach us: scheme, host, port.", max_length=200),
                    ),
                    (
                        "state",
                        models.CharField(
                            choices=[
                                ("waiting", "Waiting"),
                                ("running", "Running"),
                                ("passed", "Everything worked"),
                                ("failed", "Failed"),
                            ],
                            default="waiting",
                            max_length=8,
                        ),
                    ),
                    ("steps", models.JSONField(default=list)),
                    ("at", models.DateTimeField()),
                    ("started_at", models.DateTimeField(null=True)),
                    ("ended_at", models.DateTimeField(null=True)),
                    ("archived_at", models.DateTimeField(null=True)),
                ],
            ),
            migrations.AddField(
                model_name="persona",
                name="is_test",
                field=models.BooleanField(
                    db_default=False,
                    default=False,
                    editable=False,
                    help_text="Made by a rehearsal: outside every figure, list and text, for ever.",
                ),
            ),
            migrations.AddField(
                model_name="persona",
                name="usual_store",
                field=aiqsync.accounts.tenancy.TenantKey(
                    db_constraint=False,
                    editable=False,
                    help_text="By the sales: the favourite as long as nobody chose one (favourites.py).",
                    null=True,
                    on_delete=django.db.models.deletion.PROTECT,
                    related_name="+",
                    to="stores.store",
                ),
            ),
            migrations.AddIndex(
                model_name="persona",
                index=models.Index(condition=models.Q(("is_test", True)), fields=["account"], name="persona_test"),
            ),
            migrations.AddConstraint(
                model_name="persona",
                constraint=models.CheckConstraint(
                    condition=models.Q(("is_test", False), ("merged_into", None), _connector="OR"),
                    name="persona_test_alone",
                ),
            ),
        ),
        Together(
            migrations.AddField(
                model_name="rehearsal",
                name="account",
                field=models.ForeignKey(
                    editable=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.account"
                ),
            ),
            migrations.AddField(
                model_name="rehearsal",
                name="connection",
                field=aiqsync.accounts.tenancy.TenantKey(
                    db_constraint=False,
                    on_delete=django.db.models.deletion.PROTECT,
                    related_name="+",
                    to="integrations.connection",
                ),
            ),
            migrations.AddField(
                model_name="rehearsal",
                name="key",
                field=aiqsync.accounts.tenancy.TenantKey(
                    db_constraint=False,
                    null=True,
                    on_delete=django.db.models.deletion.PROTECT,
                    related_name="rehearsals",
                    to="accounts.apikey",
                ),
            ),
            migrations.AddField(
                model_name="rehearsal",
                name="persona",
                field=aiqsync.accounts.tenancy.TenantKey(
                    db_constraint=False,
                    on_delete=django.db.models.deletion.PROTECT,
                    related_name="rehearsals",
                    to="loyalty.persona",
                ),
            ),
            migrations.AddField(
                model_name="rehearsal",
                name="user",
                field=models.ForeignKey(
                    editable=False,
                    null=True,
                    on_delete=django.db.models.deletion.SET_NULL,
                    related_name="+",
                    to=settings.AUTH_USER_MODEL,
                ),
            ),
            migrations.AddConstraint(
                model_name="rehearsal",
                constraint=models.UniqueConstraint(
                    condition=models.Q(("archived_at", None)), fields=("account",), name="rehearsal_one_open"
                ),
            ),
        ),
        TenantReferences(
            "loyalty_rehearsal",
            {
                "connection_id": "integrations_connection",
                "persona_id": "loyalty_persona",
                "key_id": "accounts_apikey",
            },
        ),
        TenantReferences("loyalty_persona", {"usual_store_id": "stores_store"}),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
