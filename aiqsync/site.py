"""The merchant's admin: who may enter, its menu, its own pages."""

from functools import update_wrapper
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.contrib.auth import authenticate
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import Resolver404, resolve, reverse
from django.utils import timezone
from unfold.forms import AuthenticationForm
from unfold.sites import UnfoldAdminSite

from .accounts import alerts, switching
from .accounts.roles import may
from .accounts.tenancy import NoCurrentAccount


class LoginForm(AuthenticationForm):
    """Log-in by e-mail."""

    error_messages = {
        "invalid_login": "This e-mail and password do not belong together. Check both; the password knows upper and "
        "lower case.",
        "inactive": "This log-in has been switched off.",
    }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "E-mail"
        self.fields["username"].widget.attrs.update(
            {"autocomplete": "username", "inputmode": "email", "class": "iq-input"}
        )
        self.fields["password"].widget.attrs.update({"autocomplete": "current-password", "class": "iq-input"})

    def clean_username(self) -> str:
        return self.cleaned_data["username"].strip().lower()

    def clean(self) -> dict:
        """As Django's, but under the model's own field name: by another, axes would count nobody's failures."""
        email, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if email and password:
            self.user_cache = authenticate(self.request, email=email, password=password)
            if self.user_cache is None:
                raise self.get_invalid_login_error()
            self.confirm_login_allowed(self.user_cache)
        return self.cleaned_data

    def confirm_login_allowed(self, user) -> None:
        super().confirm_login_allowed(user)
        if not user.is_superuser and not switching.accounts_of(user):
            raise ValidationError("This log-in belongs to no company. Ask the owner of yours to add you as a member.")


def stylesheet(request: HttpRequest) -> str:
    return static("aiqsync/site.css")


def script(request: HttpRequest) -> str:
    return static("aiqsync/site.js")


class MerchantSite(UnfoldAdminSite):
    index_title = "Home"

    def has_permission(self, request: HttpRequest) -> bool:
        """People of an account, and the installation's operator."""
        user = request.user
        return user.is_active and (user.is_superuser or getattr(request, "membership", None) is not None)

    def extra_urls(self):
        from .pages import urls

        return urls.patterns(self)

    def get_urls(self):
        # Django's "view on site" looks a row up past the tenant's manager, and no model of ours has such a page.
        return [url for url in super().get_urls() if getattr(url, "name", None) != "view_on_site"]

    def admin_view(self, view, cacheable: bool = False):
        """Each page is rendered in the account's time zone; without an account there is nothing to see."""

        def inner(request: HttpRequest, *args, **kwargs) -> HttpResponse:
            try:
                with timezone.override(zone_of(request)):
                    response = view(request, *args, **kwargs)
                    if hasattr(response, "render") and not response.is_rendered:
                        response = response.render()
                    if response.status_code == 405 and request.method == "GET":
                        return _to_its_page(request)
                    return response
            except NoCurrentAccount:
                if not request.user.is_superuser:
                    raise PermissionDenied from None
                messages.info(request, "Enter an account first: merchants' pages show one account at a time.")
                return HttpResponseRedirect(reverse("admin:accounts_account_changelist"))

        return super().admin_view(update_wrapper(inner, view), cacheable)

    def index(self, request: HttpRequest, extra_context=None) -> HttpResponse:
        membership = getattr(request, "membership", None)
        if membership is None:
            return HttpResponseRedirect(reverse("admin:accounts_account_changelist"))
        if not may(membership.role, "home.view"):
            return HttpResponseRedirect(reverse("admin:loyalty_persona_changelist"))
        return super().index(request, extra_context)

    def login(self, request: HttpRequest, extra_context=None) -> HttpResponse:
        response = super().login(request, extra_context)
        if getattr(request, "axes_locked_out", False):
            request.axes_locked_out = False  # axes would answer with a bare line instead
            return TemplateResponse(request, "registration/locked.html", self.each_context(request), status=429)
        return response

    def each_context(self, request: HttpRequest) -> dict:
        context = super().each_context(request)
        if self.has_permission(request):
            context["account_bar"] = switching.bar(request)
            context["place"] = _place(context["sidebar_navigation"])
        context["site_url"] = None
        return context


# Pages with buttons of their own below them, beside the lists and records of models.
PAGES = frozenset({
    "programme", "programme-change", "modifiers", "modifier", "persona", "redemptions-to-look-at", "same-person", "why",
    "report-liability", "report-ledger", "card", "card-change", "files", "file", "alerts", "integrations", "index",
    "webhooks", "webhook", "webhook-delivery",
})  # fmt: skip
# Buttons whose page is not above them.
BESIDE = {"store-mapping": "stores_store_change"}


def _to_its_page(request: HttpRequest) -> HttpResponse:
    """A button's address opened as a page: reloaded after a refusal, or asked for again by the log-in."""
    match = request.resolver_match
    if match and match.url_name in BESIDE:
        return _nothing_done(request, reverse(f"admin:{BESIDE[match.url_name]}", args=[*match.kwargs.values()]))
    address = request.path.rstrip("/")
    while address := address.rpartition("/")[0]:
        try:
            name = resolve(f"{address}/").url_name or ""
        except Resolver404:
            continue
        if name in PAGES or name.endswith(("_changelist", "_change")):
            return _nothing_done(request, f"{address}/")
    return HttpResponseRedirect(reverse("admin:index"))


def _nothing_done(request: HttpRequest, page: str) -> HttpResponse:
    messages.info(request, "Nothing was done: press the button again if it is still wanted.")
    return HttpResponseRedirect(page)


def zone_of(request: HttpRequest) -> ZoneInfo:
    membership = getattr(request, "membership", None)
    return ZoneInfo(membership.account.timezone if membership else "UTC")


# The menu follows the paths that AIQ's articles print, so that people find things.
# Each item: title, icon, route, act of the role table.
MENU = [
    ("", [("Home", "home", "admin:index", "home.view")]),
    (
        "Customers",
        [
            ("Personas", "group", "admin:loyalty_persona_changelist", "personas.view"),
            ("Audiences", "groups", "admin:loyalty_audience_changelist", "audiences.view"),
            ("Same person?", "join_inner", "admin:same-person", "personas.change"),
            ("Why?", "help", "admin:why", "personas.view"),
        ],
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
            ("Redemptions to look at", "rule", "admin:redemptions-to-look-at", "redemptions.look"),
            ("Messages", "sms", "admin:loyalty_message_changelist", "messages.view"),
            ("Consent", "approval", "admin:loyalty_consentline_changelist", "consent.view"),
        ],
    ),
    (
        "Sales",
        [("Sales", "receipt_long", "admin:integrations_sale_changelist", "sales.view")],
    ),
    (
        "Reports",
        [
            ("Staff", "supervisor_account", "admin:report-staff", "reports.staff"),
            ("Points liability", "account_balance", "admin:report-liability", "reports.view"),
            ("Margin", "trending_up", "admin:report-margin", "reports.view"),
            ("Data quality", "rule", "admin:report-quality", "reports.view"),
            ("Ledger check", "fact_check", "admin:report-ledger", "reports.view"),
        ],
    ),
    (
        "Settings",
        [
            ("Integrations", "hub", "admin:integrations", "integrations.view"),
            ("Alerts", "notifications", "admin:alerts", "alerts.view"),
            (
                "Retail Stores",
                "storefront",
                "admin:stores_store_changelist",
                "stores.view",
            ),
            ("Loyalty", "loyalty", "admin:programme", "programme.view"),
            ("Points modifiers", "rocket_launch", "admin:modifiers", "programme.view"),
            ("API & Tracking", "key", "admin:accounts_apikey_changelist", "keys.view"),
            ("Webhooks", "webhook", "admin:webhooks", "webhooks.view"),
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
    (
        "Installation",
        [
            ("Accounts", "apartment", "admin:accounts_account_changelist"),
            ("Task queue", "schedule", "admin:django_q_ormq_changelist"),
            ("Failed tasks", "error", "admin:django_q_failure_changelist"),
            ("Refused log-ins", "lock_clock", "admin:axes_accessattempt_changelist"),
        ],
    ),
]


def navigation(request: HttpRequest) -> list[dict]:
    """What this person may open. Links only: every page checks again."""
    membership = getattr(request, "membership", None)
    groups = []
    if membership:
        for title, items in MENU:
            shown = [_item(name, icon, route) for name, icon, route, act in items if may(membership.role, act)]
            for item in shown:
                if item["link"] == reverse("admin:alerts") and (count := alerts.count_open(membership.account_id)):
                    item["badge"], item["badge_variant"] = count, "danger"
            if shown:
                groups.append({"title": title, "separator": bool(title and groups), "items": shown})
    if request.user.is_superuser:
        for title, items in OPERATOR_MENU:
            groups.append({"title": title, "separator": True, "items": [_item(*item) for item in items]})
    _mark(request.path, [item for group in groups for item in group["items"]])
    return groups


def _place(groups: list[dict]) -> dict | None:
    """Where we are by the menu, for the heading: group, title, link."""
    for group in groups:
        for item in group["items"]:
            if item["active"]:
                return {"group": group["title"], "title": item["title"], "link": item["link"]}
    return None


def _item(name: str, icon: str, route: str) -> dict:
    return {"title": name, "icon": icon, "link": reverse(route)}


def _mark(path: str, items: list[dict]) -> None:
    """One item is where we are: the longest link the path begins with (sales lie below integrations)."""
    if path.startswith(reverse("admin:index") + "personas/"):
        path = reverse("admin:loyalty_persona_changelist")
    home = reverse("admin:index")
    here = [item["link"] for item in items if path.startswith(item["link"]) and (item["link"] != home or path == home)]
    for item in items:
        item["active"] = bool(here) and item["link"] == max(here, key=len)
