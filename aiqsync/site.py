"""The merchant's admin: who may enter, its menu, its own pages."""

from django.contrib.auth import authenticate  # noqa: F401  (AuthenticationForm uses the backends of the settings)
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from unfold.forms import AuthenticationForm
from unfold.sites import UnfoldAdminSite

from .accounts.roles import may


class LoginForm(AuthenticationForm):
    """Log-in by e-mail."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "E-mail"
        self.fields["username"].widget.attrs.update({"autocomplete": "username", "inputmode": "email"})

    def clean_username(self) -> str:
        return self.cleaned_data["username"].strip().lower()


def stylesheet(request: HttpRequest) -> str:
    return static("aiqsync/site.css")


def script(request: HttpRequest) -> str:
    return static("aiqsync/site.js")


class MerchantSite(UnfoldAdminSite):
    def has_permission(self, request: HttpRequest) -> bool:
        """People of an account, and the installation's operator."""
        user = request.user
        return user.is_active and (user.is_superuser or getattr(request, "membership", None) is not None)

    def extra_urls(self):
        from .pages import urls

        return urls.patterns(self)


# The menu follows the paths that AIQ's articles print, so that people find things.
# Each item: title, icon, route, act of the role table.
MENU = [
    ("", [("Home", "home", "admin:index", "home.view")]),
    (
        "Customers",
        [("Personas", "group", "admin:loyalty_persona_changelist", "personas.view")],
    ),
    (
        "Marketing",
        [
            (
                "Discounts",
                "sell",
                "admin:loyalty_discount_changelist",
                "discounts.view",
            ),
            (
                "Redemptions",
                "redeem",
                "admin:loyalty_redemption_changelist",
                "redemptions.view",
            ),
        ],
    ),
    (
        "Sales",
        [("Sales", "receipt_long", "admin:integrations_sale_changelist", "sales.view")],
    ),
    (
        "Settings",
        [
            ("Integrations", "hub", "admin:integrations", "integrations.view"),
            (
                "Retail Stores",
                "storefront",
                "admin:stores_store_changelist",
                "stores.view",
            ),
            ("Loyalty", "loyalty", "admin:programme", "programme.view"),
            ("API & Tracking", "key", "admin:accounts_apikey_changelist", "keys.view"),
            (
                "Members",
                "badge",
                "admin:accounts_membership_changelist",
                "members.view",
            ),
            (
                "Activity log",
                "history",
                "admin:accounts_auditline_changelist",
                "audit.view",
            ),
        ],
    ),
]
OPERATOR_MENU = [
    ("Installation", [("Accounts", "apartment", "admin:accounts_account_changelist")]),
]


def navigation(request: HttpRequest) -> list[dict]:
    """What this person may open. Links only: every page checks again."""
    membership = getattr(request, "membership", None)
    groups = []
    if membership:
        for title, items in MENU:
            shown = [
                {"title": name, "icon": icon, "link": reverse(route)}
                for name, icon, route, act in items
                if may(membership.role, act)
            ]
            if shown:
                groups.append({"title": title, "separator": bool(title), "items": shown})
    if request.user.is_superuser:
        for title, items in OPERATOR_MENU:
            groups.append(
                {
                    "title": title,
                    "separator": True,
                    "items": [{"title": name, "icon": icon, "link": reverse(route)} for name, icon, route in items],
                }
            )
    return groups
