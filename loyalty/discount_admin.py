"""Marketing, Discounts: AIQ's labels, money typed in dollars, archived instead of deleted."""

import re
from decimal import Decimal

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Q
from django.http import HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from aiqsync.accounts import audit
from aiqsync.accounts.base_admin import TenantAdmin
from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.tenancy import current_account_id
from stores.models import Store

from . import codes, discounts
from .models import Audience, CodeKind, Discount, Reward

_SPAN = re.compile(r"(\d{1,4})\s*(d|day|days|h|hour|hours)", re.IGNORECASE)


def in_words(hours: int | None) -> str:
    """Hours as they are typed: `7 days`, `12 hours`."""
    if not hours:
        return ""
    count, unit = (hours // 24, "day") if hours % 24 == 0 else (hours, "hour")
    return f"{count} {unit}{'' if count == 1 else 's'}"


class SpanField(forms.CharField):
    """Days or hours in words, kept in hours."""

    widget = UnfoldAdminTextInputWidget(attrs={"placeholder": "7 days, or 12 hours"})

    def clean(self, value):
        text = super().clean(value).strip()
        if not text:
            return None
        found = _SPAN.fullmatch(text)
        if not found or not int(found[1]):
            raise forms.ValidationError("Type a number of days or hours: 7 days, or 12 hours.")
        return int(found[1]) * (24 if found[2].lower().startswith("d") else 1)


def _span(label: str, help_text: str) -> SpanField:
    return SpanField(label=label, required=False, help_text=help_text)


class DiscountForm(forms.ModelForm):
    amount = forms.DecimalField(
        label="Amount off, in dollars",
        required=False,
        min_value=Decimal("0.01"),
        max_value=Decimal(100_000),
        max_digits=9,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="10 is $10.00.",
    )
    min_spend = forms.DecimalField(
        label="Minimum spend, in dollars",
        required=False,
        min_value=Decimal(0),
        max_value=Decimal(100_000),
        max_digits=9,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Empty: none. Checked here where the order's amount is known.",
    )
    cooldown = _span("Cooldown between redemptions", "Empty: none.")
    valid_for = _span(
        "Relative expiration",
        "After the shopper received it: joined the audience, else became a member. Empty: the end above alone counts.",
    )
    for_stores = forms.ModelMultipleChoiceField(
        label="Stores", queryset=None, required=False, widget=forms.CheckboxSelectMultiple,
        help_text="None chosen: everywhere.",
    )  # fmt: skip
    for_audiences = forms.ModelMultipleChoiceField(
        label="Audiences", queryset=None, required=False, widget=forms.CheckboxSelectMultiple,
        help_text="Only their members see it. None chosen: every member of the programme.",
    )  # fmt: skip
    new_codes = forms.CharField(
        label="Add codes", required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="One a line, up to 20,000 at once.",
    )  # fmt: skip
    make_codes = forms.IntegerField(
        label="Or make so many", required=False, min_value=1, max_value=20_000, widget=UnfoldAdminIntegerFieldWidget
    )

    class Meta:
        model = Discount
        fields = [
            "internal_name", "tags", "reward", "name", "description", "kind", "percent", "points", "stackable",
            "reusable", "hide_redeem", "starts_at", "ends_at", "code_kind", "static_code", "in_store_only",
            "pos_discount_id", "rank",
        ]  # fmt: skip

    # What a form of few fields leaves out is what a new discount has.
    DEFAULTS = ("reward", "code_kind", "rank")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.instance.amount_cents:
            self.initial["amount"] = Decimal(self.instance.amount_cents) / 100
        if self.instance.min_spend_cents:
            self.initial["min_spend"] = Decimal(self.instance.min_spend_cents) / 100
        self.initial["cooldown"] = in_words(self.instance.cooldown_h)
        self.initial["valid_for"] = in_words(self.instance.valid_for_h)
        for name in ("percent", "points", *self.DEFAULTS):
            if name in self.fields:
                self.fields[name].required = False
        if "points" in self.fields:
            self.fields["points"].help_text = "Empty: it costs no points."
        if "for_stores" in self.fields:
            self.fields["for_stores"].queryset = Store.objects.order_by("name")
            self.fields["for_audiences"].queryset = Audience.objects.filter(archived_at=None)
        if self.instance.pk:
            self.initial["for_stores"] = list(self.instance.stores.values_list("store_id", flat=True))
            self.initial["for_audiences"] = list(self.instance.audiences.values_list("audience_id", flat=True))
            if "new_codes" in self.fields and self.instance.code_kind == CodeKind.UNIQUE:
                free, used = codes.left(account_id=self.instance.account_id, discount_id=self.instance.pk)
                self.fields["new_codes"].help_text += f" {free:,} are free, {used:,} were handed out."

    def clean_points(self) -> Decimal:
        return self.cleaned_data.get("points") or Decimal(0)

    def clean_percent(self) -> Decimal:
        return self.cleaned_data.get("percent") or Decimal(0)

    def clean_reward(self) -> str:
        return self.cleaned_data.get("reward") or self.instance.reward

    def clean_code_kind(self) -> str:
        return self.cleaned_data.get("code_kind") or self.instance.code_kind

    def clean_rank(self) -> int:
        given = self.cleaned_data.get("rank")
        return self.instance.rank if given is None else given

    def clean(self):
        data = super().clean()
        amount = data.get("amount")
        flat = data.get("kind") == Discount.Kind.FLAT
        self.instance.amount_cents = int(amount * 100) if flat and amount else 0
        if flat and not amount and "amount" not in self.errors:
            self.add_error("amount", "Say how many dollars come off.")
        self.instance.min_spend_cents = int((data.get("min_spend") or 0) * 100)
        self.instance.cooldown_h = data.get("cooldown") or 0
        self.instance.valid_for_h = data.get("valid_for")
        if self.instance.cooldown_h and not data.get("reusable") and data.get("reward") != Reward.TIER:
            self.add_error("cooldown", "A cooldown is for a discount that can be used more than one time.")
        return data

    def _get_validation_exclusions(self):
        """The model names the field in cents; what is wrong with it is said above, in dollars."""
        return super()._get_validation_exclusions() | {"amount_cents"}

    def add_error(self, field, error):
        if field is None and hasattr(error, "error_dict") and "amount_cents" in error.error_dict:
            error.error_dict.pop("amount_cents")
            if not error.error_dict:
                return
        super().add_error(field, error)


class DiscountStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request, model_admin):
        return [("archived", "Archived"), ("all", "All")]

    def choices(self, changelist):
        for choice in super().choices(changelist):
            yield choice | (
                {"display": "In use"}
                if choice["query_string"] and choice["display"] == "All" and not self.value()
                else {}
            )

    def queryset(self, request, queryset):
        if self.value() == "all":
            return queryset
        return queryset.filter(archived_at__isnull=self.value() != "archived")


@admin.register(Discount)
class DiscountAdmin(TenantAdmin):
    subject = "discounts"
    form = DiscountForm
    list_display = ["named", "number", "off", "points_shown", "uses", "redeemed", "starts", "ends", "state"]
    list_display_links = ["named"]
    list_filter = [DiscountStateFilter]
    search_fields = ["name", "internal_name"]
    search_help_text = "Name, as shoppers or staff see it"
    change_form_before_template = "aiqsync/home/discount_preview.html"
    change_form_outer_after_template = "aiqsync/home/archive_discount.html"
    conditional_fields = {
        "amount": "kind == 'flat'",
        "percent": "kind == 'percent'",
        "cooldown": "reusable == true",
        "static_code": "code_kind == 'static'",
        "new_codes": "code_kind == 'unique'",
        "make_codes": "code_kind == 'unique'",
    }
    actions = None
    fieldsets = [
        (None, {"fields": ["internal_name", "tags", "reward", "name", "description"]}),
        ("What it takes off", {"fields": ["kind", "amount", "percent", "points", "min_spend", "stackable"]}),
        ("Who and where", {"fields": ["for_stores", "for_audiences"]}),
        ("How often and when", {
            "fields": ["reusable", "cooldown", "hide_redeem", "starts_at", "ends_at", "valid_for", "rank"]}),
        ("At the till and online", {
            "fields": ["code_kind", "static_code", "new_codes", "make_codes", "pos_discount_id", "in_store_only"]}),
    ]  # fmt: skip

    def get_queryset(self, request):
        live = Count("redemptions", filter=Q(redemptions__state__in=["applied", "settled"]))
        return super().get_queryset(request).annotate(redeemed=live)

    def get_urls(self):
        archive = path("<int:pk>/archive/", self.admin_site.admin_view(self.archive), name="loyalty_discount_archive")
        return [archive, *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        extra = {"may_archive": self._may(request, "change")}
        return super().change_view(request, object_id, form_url, (extra_context or {}) | extra)

    def save_model(self, request, obj, form, change):
        with transaction.atomic():
            if not change:
                obj.account_id = current_account_id()
                obj.number = discounts.next_number(obj.account_id)
            stores, groups = form.cleaned_data.get("for_stores"), form.cleaned_data.get("for_audiences")
            obj.limited_stores, obj.limited_audiences = bool(stores), bool(groups)
            super().save_model(request, obj, form, change)
            discounts.limit(discount=obj, stores=stores or [], audiences=groups or [])
            self._add_codes(request, obj, form)
            audit.record(
                act="discount.changed" if change else "discount.created",
                target=obj.internal_name,
                user=request.user,
                detail={
                    name: str(form.cleaned_data.get(name, ""))[:200]
                    for name in form.changed_data
                    if name != "new_codes"
                },
            )
        for text in discounts.remarks(obj):
            messages.warning(request, text)

    def _add_codes(self, request, obj: Discount, form: DiscountForm) -> None:
        if obj.code_kind != CodeKind.UNIQUE:
            return
        now, ids = timezone.now(), {"account_id": obj.account_id, "discount_id": obj.pk}
        if typed := form.cleaned_data.get("new_codes"):
            done = codes.enter(**ids, codes=typed.splitlines(), now=now)
            messages.info(request, f"{done.added:,} code{'' if done.added == 1 else 's'} added.")
            if done.refused:
                shown = "; ".join(f"{code} {why}" for code, why in done.refused[:5])
                more = f"; and {len(done.refused) - 5:,} more" if len(done.refused) > 5 else ""
                messages.warning(request, f"{len(done.refused):,} not taken: {shown}{more}.")
        if count := form.cleaned_data.get("make_codes"):
            messages.info(request, f"{codes.generate(**ids, count=count, now=now):,} codes made.")

    def archive(self, request, pk: int):
        return require_POST(self._archive)(request, pk)

    def _archive(self, request, pk: int):
        """Archived: nobody can redeem it; what was redeemed stays. The same button takes it back."""
        if not self._may(request, "change"):
            raise PermissionDenied
        discount = self.get_object(request, str(pk))
        if discount is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(pk))
        with transaction.atomic():
            discount.archived_at = None if discount.archived_at else timezone.now()
            discount.save(update_fields=["archived_at"])
            act = "discount.archived" if discount.archived_at else "discount.restored"
            audit.record(act=act, target=discount.internal_name, user=request.user)
        said = "is archived: it can no longer be redeemed" if discount.archived_at else "is in use again"
        messages.success(request, f"{discount.internal_name} {said}.")
        return HttpResponseRedirect(reverse("admin:loyalty_discount_changelist"))

    @display(description="Name", header=True, ordering="name")
    def named(self, discount: Discount):
        return [discount.name, discount.internal_name if discount.internal_name != discount.name else ""]

    @display(description="Off")
    def off(self, discount: Discount) -> str:
        if discount.kind == Discount.Kind.FLAT:
            return iq.money(discount.amount_cents)
        return f"{discount.percent.normalize():f}%"

    @display(description="Points", ordering="points")
    def points_shown(self, discount: Discount) -> str:
        return iq.number(iq.points(discount.points))

    @display(description="Redemptions")
    def redeemed(self, discount: Discount) -> str:
        return iq.number(f"{discount.redeemed:,}")

    @display(description="Use")
    def uses(self, discount: Discount) -> str:
        return "Again and again" if discount.reusable else "Once each"

    @display(description="Start", ordering="starts_at")
    def starts(self, discount: Discount) -> str:
        return iq.when(discount.starts_at, "–")

    @display(description="End", ordering="ends_at")
    def ends(self, discount: Discount) -> str:
        return iq.when(discount.ends_at, "–")

    @display(description="State")
    def state(self, discount: Discount) -> str:
        now = timezone.now()
        if discount.archived_at:
            return iq.pill("Archived")
        if discount.starts_at and discount.starts_at > now:
            return iq.pill("Not started", "info")
        if discount.ends_at and discount.ends_at <= now:
            return iq.pill("Ended", "warn")
        return iq.pill("Active", "good")
