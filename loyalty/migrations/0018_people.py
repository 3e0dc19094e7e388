"""What was given as a phone at sign-up and is none is kept beside the field."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("loyalty", "0017_life"),
    ]

    operations = [
        migrations.AddField(
            model_name="persona",
            name="phone_raw",
            field=models.CharField(
                blank=True,
                db_default="",
                editable=False,
                help_text="What was given with the last sign-up and is no phone number; empty when the phone was good.",
                max_length=100,
            ),
        ),
    ]
