"""Members, API keys and the activity log: what an owner sees of his own company."""

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST
from unfold.decorators import display
from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminTextInputWidget

from . import audit, members, operator_admin  # noqa: F401  (registers itself)
from .base_admin import ReadOnlyAdmin, TenantAdmin
from .models import AuditLine, Membership
from .templatetags.iq import pill, when


class MemberForm(forms.ModelForm):
    by_operator = False  # set by the admin

    email = forms.EmailField(
        label="E-mail",
        widget=UnfoldAdminEmailInputWidget,
        help_text="What the person logs in with. It must be new on this installation.",
    )
    name = forms.CharField(
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Shown beside what the person does.",
    )

    class Meta:
        model = Membership
        fields = ["role"]

    def clean_email(self) -> str:
        email = self.cleaned_data["email"].strip().lower()
        if Membership.objects.filter(user__email__iexact=email).exists():
            raise forms.ValidationError("This person is a member already.")
        if members.known_elsewhere(email) and not self.by_operator:
            raise forms.ValidationError(
                "This address has a log-in with another company here. Use another, or ask the operator to add it."
            )
        return email


class RoleForm(forms.ModelForm):
    class Meta:
        model = Membership
        fields = ["role"]

    def clean_role(self) -> str:
        role, stored = self.cleaned_data["role"], self.instance
        owners = set(Membership.objects.filter(role="owner").values_list("pk", flat=True))
        if role != "owner" and owners == {stored.pk}:
            raise forms.ValidationError("The last owner stays owner: make somebody else owner first.")
        return role


@admin.register(Membership)
class MembershipAdmin(TenantAdmin):
    subject = "members"
    can_delete = True
    list_display = ["person", "role_shown", "last_login"]
    list_select_related = ["user"]
    list_display_links = ["person"]
    ordering = ["id"]
    actions = None
    change_form_outer_after_template = "aiqsync/home/member_actions.html"

    def get_form(self, request, obj=None, **kwargs):
        by_operator = {"by_operator": request.user.is_superuser}
        kwargs["form"] = RoleForm if obj else type("MemberForm", (MemberForm,), by_operator)
        kwargs["fields"] = None
        return super().get_form(request, obj, **kwargs)

    def get_fieldsets(self, request, obj=None):
        if obj:
            return [(None, {"fields": ["who", "role", "since"]})]
        return [(None, {"fields": ["email", "name", "role"], "description": ROLES})]

    def get_readonly_fields(self, request, obj=None):
        return ["who", "since"] if obj else []

    def save_model(self, request, obj, form, change):
        if change:
            members.change_role(membership=obj, role=form.cleaned_data["role"], by=request.user)
            return
        made = members.add(
            email=form.cleaned_data["email"],
            name=form.cleaned_data["name"],
            role=form.cleaned_data["role"],
            by=request.user,
        )
        obj.__dict__.update(made.__dict__)

    def response_add(self, request, obj, post_url_continue=None):
        return self._link_page(request, obj, "was added")

    def get_urls(self):
        link = path("<int:pk>/link/", self.admin_site.admin_view(self.link), name="accounts_membership_link")
        return [link, *super().get_urls()]

    def link(self, request: HttpRequest, pk: int):
        return require_POST(self._link)(request, pk)

    def _link(self, request: HttpRequest, pk: int):
        """For a member who forgot the password."""
        if not self._may(request, "change"):
            raise PermissionDenied
        member = self.get_object(request, str(pk))
        if member is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(pk))
        return self._link_page(request, member, "gets a new link")

    def _link_page(self, request: HttpRequest, member: Membership, what: str):
        """The link is on this answer and nowhere else."""
        found = members.password_link(membership=member, base=request.build_absolute_uri("/"), by=request.user)
        context = {
            **self.admin_site.each_context(request),
            "title": "Members",
            "member": member,
            "what": what,
            "link": found,
        }
        response = TemplateResponse(request, "aiqsync/home/member_link.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    def delete_model(self, request, obj):
        members.remove(membership=obj, by=request.user)

    def delete_view(self, request, object_id, extra_context=None):
        try:
            return super().delete_view(request, object_id, extra_context)
        except members.LastOwner:
            messages.error(request, "The last owner cannot be removed: make somebody else owner first.")
            return HttpResponseRedirect(reverse("admin:accounts_membership_changelist"))

    def get_deleted_objects(self, objs, request):
        """Stock code asks for rights on every related row; what goes with a member is his stores, nothing else."""
        return [str(obj) for obj in objs], {}, set(), []

    @display(description="Member", header=True, ordering="user__email")
    def person(self, member: Membership):
        return [member.user.name or member.user.email, member.user.email if member.user.name else ""]

    @display(description="Member")
    def who(self, member: Membership) -> str:
        return f"{member.user.name}, {member.user.email}" if member.user.name else member.user.email

    @display(description="Since")
    def since(self, member: Membership) -> str:
        return when(member.created_at)

    @display(description="Role", ordering="role")
    def role_shown(self, member: Membership) -> str:
        return pill(member.get_role_display(), "good" if member.role == "owner" else "")

    @display(description="Last log-in")
    def last_login(self, member: Membership) -> str:
        return when(member.user.last_login)


ROLES = (
    "Owner: everything. Operator: everything but members and the activity log. Manager: personas, points, sales. "
    "Marketing: discounts. Analyst and Finance: read. Staff: look up shoppers at the counter."
)


def in_words(act: str) -> str:
    """`key.created` as "Key created"."""
    return act.replace(".", " ").replace("_", " ").capitalize()


@admin.register(AuditLine)
class AuditLineAdmin(ReadOnlyAdmin):
    subject = "audit"
    list_display = ["moment", "who", "done", "target", "what"]
    list_display_links = None
    list_select_related = ["user", "key"]
    list_filter = ["act"]
    search_fields = ["target", "act", "user__email"]
    search_help_text = "Person, act or thing"
    fields = ["moment", "who", "done", "target", "what"]
    readonly_fields = fields

    def get_list_filter(self, request):
        return [ActFilter]

    @display(description="When", ordering="at")
    def moment(self, line: AuditLine) -> str:
        return when(line.at)

    @display(description="Who")
    def who(self, line: AuditLine) -> str:
        if line.user:
            return str(line.user)
        return f"API key {line.key}" if line.key else "The system"

    @display(description="Act", ordering="act")
    def done(self, line: AuditLine) -> str:
        return in_words(line.act)

    @display(description="Details")
    def what(self, line: AuditLine) -> str:
        return ", ".join(f"{name}: {value}" for name, value in line.detail.items()) or "–"


class ActFilter(admin.SimpleListFilter):
    """Only acts of this account."""

    title = "act"
    parameter_name = "act"

    def lookups(self, request, model_admin):
        acts = AuditLine.objects.order_by("act").values_list("act", flat=True).distinct()[:100]
        return [(act, in_words(act)) for act in acts]

    def queryset(self, request, queryset):
        return queryset.filter(act=self.value()) if self.value() else queryset
