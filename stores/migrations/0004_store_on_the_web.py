"""A store as apps and web shops show it: picture, online shop, review links, and where it is."""

import django.core.validators
from django.db import migrations, models

import stores.models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_alerts"),
        ("stores", "0003_not_ours"),
    ]

    operations = [
        migrations.AddField(
            model_name="store",
            name="avatar",
            field=models.CharField(
                blank=True,
                help_text="The address of a square picture of the store.",
                max_length=500,
                validators=[django.core.validators.URLValidator(["http", "https"])],
                verbose_name="picture",
            ),
        ),
        migrations.AddField(
            model_name="store",
            name="latitude",
            field=models.DecimalField(
                blank=True,
                decimal_places=6,
                help_text="Degrees north, as 49.282729.",
                max_digits=8,
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(-90),
                    django.core.validators.MaxValueValidator(90),
                ],
            ),
        ),
        migrations.AddField(
            model_name="store",
            name="longitude",
            field=models.DecimalField(
                blank=True,
                decimal_places=6,
                help_text="Degrees east, as -123.120738.",
                max_digits=9,
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(-180),
                    django.core.validators.MaxValueValidator(180),
                ],
            ),
        ),
        migrations.AddField(
            model_name="store",
            name="online_shop_url",
            field=models.CharField(
                blank=True,
                help_text="Where shoppers order from this store.",
                max_length=500,
                validators=[django.core.validators.URLValidator(["http", "https"])],
                verbose_name="online shop",
            ),
        ),
        migrations.AddField(
            model_name="store",
            name="review_links",
            field=models.JSONField(blank=True, default=dict, validators=[stores.models.check_review_links]),
        ),
        migrations.AddConstraint(
            model_name="store",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("latitude", None), ("longitude", None)),
                    models.Q(
                        ("latitude__isnull", False),
                        ("longitude__isnull", False),
                        ("latitude__gte", -90),
                        ("latitude__lte", 90),
                        ("longitude__gte", -180),
                        ("longitude__lte", 180),
                    ),
                    _connector="OR",
                ),
                name="store_place",
            ),
        ),
    ]
