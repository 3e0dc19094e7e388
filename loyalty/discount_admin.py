"""Marketing, Discounts: AIQ's labels, money typed in dollars, archived instead of deleted."""

from decimal import Decimal

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from aiqsync.accounts import audit
from aiqsync.accounts.base_admin import TenantAdmin
from aiqsync.accounts.models import Account
from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.tenancy import current_account_id

from .models import Discount


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

    class Meta:
        model = Discount
        fields = [
            "internal_name", "name", "description", "kind", "percent", "points", "reusable", "starts_at", "ends_at",
            "in_store_only", "pos_discount_id",
        ]  # fmt: skip

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.instance.amount_cents:
            self.initial["amount"] = Decimal(self.instance.amount_cents) / 100
        for name in ("percent", "points"):
            if name in self.fields:
                self.fields[name].required = False
        if "points" in self.fields:
            self.fields["points"].help_text = "Empty: it costs no points."

    def clean_points(self) -> Decimal:
        return self.cleaned_data.get("points") or Decimal(0)

    def clean_percent(self) -> Decimal:
        return self.cleaned_data.get("percent") or Decimal(0)

    def clean(self):
        data = super().clean()
        amount = data.get("amount")
        flat = data.get("kind") == Discount.Kind.FLAT
        self.instance.amount_cents = int(amount * 100) if flat and amount else 0
        if flat and not amount and "amount" not in self.errors:
            self.add_error("amount", "Say how many dollars come off.")
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
    list_display = ["named", "number", "off", "points_shown", "uses", "starts", "ends", "state"]
    list_display_links = ["named"]
    list_filter = [DiscountStateFilter]
    search_fields = ["name", "internal_name"]
    search_help_text = "Name, as shoppers or staff see it"
    change_form_before_template = "aiqsync/home/discount_preview.html"
    change_form_outer_after_template = "aiqsync/home/archive_discount.html"
    conditional_fields = {"amount": "kind == 'flat'", "percent": "kind == 'percent'"}
    actions = None
    fieldsets = [
        (None, {"fields": ["internal_name", "name", "description"]}),
        (
            "What it takes off",
            {
                "fields": ["kind", "amount", "percent", "points"],
                "description": "Cova: flat and percent on the cart, one per order.",
            },
        ),
        ("Rules", {"fields": ["reusable", "starts_at", "ends_at", "in_store_only", "pos_discount_id"]}),
    ]

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
                obj.number = self._next_number(obj.account_id)
            super().save_model(request, obj, form, change)
            audit.record(
                act="discount.changed" if change else "discount.created",
                target=obj.internal_name,
                user=request.user,
                detail={name: str(form.cleaned_data.get(name, "")) for name in form.changed_data},
            )

    def _next_number(self, account_id: int) -> int:
        Account.objects.select_for_update(no_key=True).get(pk=account_id)
        last = Discount.objects.order_by("-number").values_list("number", flat=True).first()
        return (last or 0) + 1

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
