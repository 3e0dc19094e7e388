from django.apps import AppConfig


class LoyaltyConfig(AppConfig):
    name = "loyalty"
    verbose_name = "Loyalty"

    def ready(self) -> None:
        from . import changes, origin_erasure  # noqa: F401  (they register their kinds of jobs)
