"""A record that another was merged into in the POS is found from its side too."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_tenant_references"),
        ("integrations", "0005_people"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="customer",
            index=models.Index(
                condition=models.Q(("merged_into", ""), _negated=True),
                fields=["origin", "merged_into"],
                name="customer_merged",
            ),
        ),
    ]
