"""The page behind the link a new member gets: choose a password, then log in."""

from django.contrib import admin, messages
from django.contrib.auth.views import PasswordResetConfirmView
from django.urls import reverse_lazy


class SetPassword(PasswordResetConfirmView):
    template_name = "registration/password_set.html"
    success_url = reverse_lazy("admin:login")

    def get_form(self, form_class=None):
        form = super().get_form(form_class)
        for field in form.fields.values():
            field.widget.attrs["class"] = "iq-input"
        return form

    def form_valid(self, form):
        # The link was made by one company's owner: since then another may have taken the person in.
        if self.user.is_superuser or self.user.memberships(manager="unscoped").count() > 1:
            form.add_error(None, "This log-in belongs to several companies. Ask the operator of this installation.")
            return self.form_invalid(form)
        messages.success(self.request, "Your password is set. Log in with it.")
        return super().form_valid(form)

    def get_context_data(self, **kwargs):
        return super().get_context_data(**admin.site.each_context(self.request) | kwargs)
