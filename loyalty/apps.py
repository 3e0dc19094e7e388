from django.apps import AppConfig


class LoyaltyConfig(AppConfig):
    name = "loyalty"
    verbose_name = "Loyalty"

    def ready(self) -> None:
        from . import changes, pos_points, switches  # noqa: F401  (register their kinds of jobs; switches, by setting)
