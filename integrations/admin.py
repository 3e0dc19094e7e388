"""Sales as they were read: a list to look things up in, and each sale with its lines. Nothing is edited here."""

from django.contrib import admin
from django.db.models import Q
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.decorators import display

from aiqsync.accounts.base_admin import ReadOnlyAdmin, TenantTabular
from aiqsync.accounts.paging import CappedPaginator
from aiqsync.accounts.templatetags.iq import exact, money, pill, when
from aiqsync.accounts.typed import whole_number

from .models import Location, Sale, SaleKind, SaleLine


class LocationFilter(admin.SimpleListFilter):
    """The account's locations only; the stock filter would ask past the tenant's manager."""

    title = "location"
    parameter_name = "location"

    def lookups(self, request, model_admin):
        return [
            (str(pk), name or external)
            for pk, name, external in Location.objects.values_list("pk", "name", "external_id")[:200]
        ]

    def queryset(self, request, queryset):
        chosen = whole_number(self.value() or "")
        return queryset if chosen is None else queryset.filter(location_id=chosen)


class CustomerFilter(admin.SimpleListFilter):
    title = "customer"
    parameter_name = "customer"

    def lookups(self, request, model_admin):
        return [("none", "No customer"), ("named", "With a customer")]

    def queryset(self, request, queryset):
        if self.value() == "none":
            return queryset.filter(customer_id="", kind=SaleKind.SALE)
        return queryset.exclude(customer_id="") if self.value() == "named" else queryset


class SaleLines(TenantTabular):
    model = SaleLine
    subject = "sales"
    fields = readonly_fields = ["name", "sku", "category", "brand", "quantity_shown", "discount", "total"]
    ordering = ["number"]
    verbose_name_plural = "lines"
    per_page = 50
    hide_title = True

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("sale")

    @display(description="Quantity")
    def quantity_shown(self, line: SaleLine) -> str:
        return f"{line.quantity.normalize():f} {line.unit}".strip()

    @display(description="Discount")
    def discount(self, line: SaleLine) -> str:
        return money(line.discount_cents, line.sale.currency) if line.discount_cents else "–"

    @display(description="Total")
    def total(self, line: SaleLine) -> str:
        return money(line.total_cents, line.sale.currency)


@admin.register(Sale)
class SaleAdmin(ReadOnlyAdmin):
    subject = "sales"
    paginator = CappedPaginator
    list_display = [
        "number_shown",
        "sold",
        "kind_shown",
        "location",
        "fulfilment",
        "total",
        "discounted",
        "employee_name",
    ]
    list_display_links = ["number_shown"]
    list_select_related = ["location"]
    list_filter = ["kind", "fulfilment", CustomerFilter, LocationFilter, ("sold_at", RangeDateTimeFilter)]
    ordering = ["-sold_at"]
    search_fields = ["number"]
    search_help_text = "Invoice or receipt number, as printed"
    inlines = [SaleLines]
    change_form_before_template = "aiqsync/home/receipt.html"
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "number_shown",
                    "receipt",
                    "kind_shown",
                    "sold_exactly",
                    "location",
                    "fulfilment",
                    "employee_name",
                ]
            },
        ),
        ("Amounts", {"fields": ["lines", "discounted", "net", "tax", "total", "payments"]}),
        ("Where it comes from", {"fields": ["origin", "external_id", "original_id", "customer_id", "changed"]}),
    ]
    readonly_fields = [
        "number_shown",
        "kind_shown",
        "sold_exactly",
        "lines",
        "discounted",
        "net",
        "tax",
        "total",
        "changed",
    ]

    def get_search_results(self, request, queryset, search_term):
        """Exact numbers: both have an index, and a part of a number finds the wrong sale."""
        term = search_term.strip().lstrip("#")
        if not term:
            return queryset, False
        return queryset.filter(Q(number=term) | Q(receipt=term, receipt__gt="") | Q(number=term.upper())), False

    @display(description="Number", ordering="number")
    def number_shown(self, sale: Sale) -> str:
        return str(sale)

    @display(description="Sold", ordering="sold_at")
    def sold(self, sale: Sale) -> str:
        return when(sale.sold_at)

    @display(description="Sold")
    def sold_exactly(self, sale: Sale) -> str:
        return exact(sale.sold_at)

    @display(description="Last changed")
    def changed(self, sale: Sale) -> str:
        return when(sale.changed_at)

    @display(description="Kind", ordering="kind")
    def kind_shown(self, sale: Sale) -> str:
        return pill("Refund", "warn") if sale.kind == SaleKind.REFUND else "Sale"

    @display(description="Total", ordering="total_cents")
    def total(self, sale: Sale) -> str:
        return money(sale.total_cents, sale.currency)

    @display(description="Discount", ordering="discount_cents")
    def discounted(self, sale: Sale) -> str:
        return money(sale.discount_cents, sale.currency) if sale.discount_cents else "–"

    @display(description="Lines before discount")
    def lines(self, sale: Sale) -> str:
        return money(sale.lines_cents, sale.currency)

    @display(description="Net, what earns")
    def net(self, sale: Sale) -> str:
        return money(sale.net_cents, sale.currency)

    @display(description="Tax")
    def tax(self, sale: Sale) -> str:
        return money(sale.tax_cents, sale.currency)
