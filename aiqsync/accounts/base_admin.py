"""The admin base every tenant model uses: rows of the current account, rights from the role table."""

from django.http import HttpRequest
from unfold.admin import ModelAdmin, StackedInline, TabularInline

from .roles import may
from .tenancy import current_account_id


class _Scoped:
    """Rights by the role table. `subject` names the acts: "stores" asks for stores.view and stores.change."""

    subject = ""
    can_add = True
    can_change = True
    can_delete = False

    def _may(self, request: HttpRequest, verb: str) -> bool:
        membership = getattr(request, "membership", None)
        if membership is None or membership.account_id != current_account_id():
            return False
        return may(membership.role, f"{self.subject}.{verb}")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "view")

    def has_view_permission(self, request: HttpRequest, obj=None) -> bool:
        return self._may(request, "view")

    def has_add_permission(self, request: HttpRequest, obj=None) -> bool:
        return self.can_add and self._may(request, "change")

    def has_change_permission(self, request: HttpRequest, obj=None) -> bool:
        return self.can_change and self._may(request, "change")

    def has_delete_permission(self, request: HttpRequest, obj=None) -> bool:
        return self.can_delete and self._may(request, "change")


class TenantAdmin(_Scoped, ModelAdmin):
    list_per_page = 30
    show_full_result_count = False
    compressed_fields = True
    warn_unsaved_form = True
    list_filter_submit = True

    def save_model(self, request, obj, form, change):
        if obj.account_id is None:
            obj.account_id = current_account_id()
        super().save_model(request, obj, form, change)


class ReadOnlyAdmin(TenantAdmin):
    can_add = can_change = can_delete = False


class TenantTabular(_Scoped, TabularInline):
    extra = 0
    can_add = can_change = False
    per_page = 20


class TenantStacked(_Scoped, StackedInline):
    extra = 0
