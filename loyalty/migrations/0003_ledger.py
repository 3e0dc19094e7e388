"""What keeps the ledger's lines as they were written. Its functions are loaded by the last migration that needs them."""

from django.db import migrations

from loyalty.sql import load


def refuse(table: str, when: str) -> migrations.RunSQL:
    name = f"{table}_only_grows"
    return migrations.RunSQL(
        f"CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION loyalty_refuse_change()",
        f"DROP TRIGGER IF EXISTS {name} ON {table}",
    )


class Migration(migrations.Migration):
    dependencies = [("loyalty", "0002_tenant_references")]

    operations = [
        load("append_only"),
        refuse("loyalty_entry", "UPDATE OR DELETE"),
        refuse("loyalty_draw", "UPDATE OR DELETE"),
        # Only `remaining` and `expires_at` of a lot change.
        refuse(
            "loyalty_lot",
            "DELETE OR UPDATE OF account_id, persona_id, entry_id, kind, points, created_at, from_lot_id",
        ),
        # Room on the page, so that spending stays inside it (HOT).
        migrations.RunSQL(
            "ALTER TABLE loyalty_wallet SET (fillfactor = 60); ALTER TABLE loyalty_lot SET (fillfactor = 85)",
            "ALTER TABLE loyalty_wallet RESET (fillfactor); ALTER TABLE loyalty_lot RESET (fillfactor)",
        ),
    ]
