from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class WiringConfig(AppConfig):
    """The top floor: it installs what the floors below were promised."""

    name = "aiqsync"
    default = True
    label = "wiring"
    verbose_name = "aiqsync"

    def ready(self) -> None:
        from . import checks, sync, watchdog, watching  # noqa: F401

        sync.install()
        watchdog.listen()


class MerchantAdminConfig(admin_apps.AdminConfig):
    default = False
    default_site = "aiqsync.site.MerchantSite"
