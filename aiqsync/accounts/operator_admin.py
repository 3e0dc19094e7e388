"""What the operator of the installation sees: accounts, the task queue, refused log-ins. No merchant's rows.

Other packages' lists are taken out of the admin; those of use come back, for reading.
"""

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django_q.models import Failure, OrmQ, Schedule, Success
from unfold.admin import ModelAdmin
from unfold.decorators import display

from . import audit
from .models import Account
from .templatetags.iq import when
from .tenancy import current_account_id

for model in (Group, AccessAttempt, AccessLog, AccessFailureLog, Schedule, Success, Failure, OrmQ):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


class OperatorAdmin(ModelAdmin):
    """The installation's own lists: for a superuser, and nobody else."""

    list_per_page = 30
    show_full_result_count = False
    may_change = False

    def _operator(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_superuser

    def has_module_permission(self, request):
        return self._operator(request)

    def has_view_permission(self, request, obj=None):
        return self._operator(request)

    def has_change_permission(self, request, obj=None):
        return self.may_change and self._operator(request)

    def has_add_permission(self, request):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


@admin.register(Account)
class AccountAdmin(OperatorAdmin):
    may_change = True
    list_display = ["name", "uid", "timezone", "currency", "opened", "enter"]
    search_fields = ["name", "uid"]
    search_help_text = "Name or UID"
    fields = ["uid", "name", "timezone", "currency", "country", "opened"]
    readonly_fields = ["uid", "opened"]
    ordering = ["name"]
    actions = None
    list_after_template = "aiqsync/home/enter_forms.html"

    def save_model(self, request, obj, form, change):
        super().save_model(request, obj, form, change)
        if current_account_id() == obj.pk:
            audit.record(
                act="account.changed", target=obj.name, user=request.user, detail={"fields": form.changed_data}
            )

    @display(description="Opened", ordering="created_at")
    def opened(self, account: Account) -> str:
        return when(account.created_at)

    @display(description="")
    def enter(self, account: Account) -> str:
        # A button of the form below the list: forms cannot be nested, and entering is a POST.
        return format_html(
            '<button type="submit" form="enter" formaction="{}" class="iq-button iq-button-small">Enter</button>',
            reverse("admin:account-enter", args=[account.uid]),
        )


@admin.register(OrmQ)
class QueueAdmin(OperatorAdmin):
    """What waits. Never the payload: it is pickled, and a merchant's ids are in it."""

    list_display = fields = ["id", "key", "lock"]
    ordering = ["id"]
    actions = None


@admin.register(Failure)
class FailureAdmin(OperatorAdmin):
    list_display = fields = ["name", "func", "started", "stopped", "attempt_count"]
    ordering = ["-started"]
    actions = None


@admin.register(AccessAttempt)
class AccessAttemptAdmin(OperatorAdmin):
    list_display = fields = ["attempt_time", "username", "ip_address", "failures_since_start"]
    ordering = ["-attempt_time"]
    actions = None
