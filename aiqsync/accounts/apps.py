from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "aiqsync.accounts"
    label = "accounts"
    verbose_name = "Company account"
