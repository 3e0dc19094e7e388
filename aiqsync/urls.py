from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from loyalty.views import discount_image, wallet_page

from . import health
from .pages.password import SetPassword


class Icon(RedirectView):
    def get_redirect_url(self):
        return static("aiqsync/icon.svg")


urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("favicon.ico", Icon.as_view()),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("admin/", admin.site.urls),
    path("password/<uidb64>/<token>/", SetPassword.as_view(), name="password-set"),
    # Where the vendor has them (docs/api/decisions.md); open to anybody, as a shopper's wallet is shown anywhere.
    re_path(r"^discount/image/(?P<digest>[0-9a-f]{32})\Z", discount_image, name="discount-image"),
    re_path(r"^wallet/(?P<token>[A-Za-z0-9_-]{1,200})\Z", wallet_page, name="wallet-page"),
    path("api/", include("loyalty.api.urls")),
]
