from django.apps import AppConfig


class LoyaltyConfig(AppConfig):
    name = "loyalty"
    verbose_name = "Loyalty"

    def ready(self) -> None:
        # They register their kinds of jobs, and the settings that act on people.
        from . import ask_after, changes, enrol_after, origin_erasure, pos_points, switches  # noqa: F401
