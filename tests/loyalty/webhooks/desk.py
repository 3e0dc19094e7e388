"""A shop that is told what happens, with the fewest words."""

from datetime import timedelta

from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from loyalty.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent
from loyalty.webhooks import endpoints, kinds, reading, sending

from ...factories import make_user
from ..people_at_till import Shop

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Desk:
    """`shop` has a webhook to `url` that wants `events` (all when none is named)."""

    def __init__(self, url: str, *events: str, shop: Shop | None = None) -> None:
        self.shop = shop or Shop(0)
        self.account = self.shop.account
        self.ids = {"account_id": self.account.pk}
        self.user = make_user(self.account, password=None)
        self.now = timezone.now()
        self.endpoint, self.secret = self.more(url, *events)

    def more(self, url: str, *events: str) -> tuple[WebhookEndpoint, str]:
        with acting_in(self.account.pk):
            return endpoints.make(
                **self.ids, url=url, events=events or list(kinds.KINDS), description="", user=self.user, now=self.now
            )

    def act(self, verb, **given):
        with acting_in(self.account.pk):
            return verb(**self.ids, pk=self.endpoint.pk, user=self.user, **given)

    def read(self) -> int:
        return reading.read(now=self.now)

    def send(self, **after) -> int:
        """Send what is due, `after` so long."""
        self.now += timedelta(**after)
        return sending.deliver_due(now=self.now)

    def test(self) -> WebhookDelivery:
        return endpoints.test(**self.ids, pk=self.endpoint.pk, now=self.now)

    def events(self, kind: str = "") -> list[WebhookEvent]:
        found = WebhookEvent.unscoped.filter(account=self.account).order_by("id")
        return [one for one in found if kind in ("", one.kind)]

    def row(self) -> WebhookEndpoint:
        return WebhookEndpoint.unscoped.get(pk=self.endpoint.pk)

    def deliveries(self) -> list[WebhookDelivery]:
        return list(WebhookDelivery.unscoped.filter(endpoint=self.endpoint).order_by("id"))

    def attempts(self) -> list[WebhookAttempt]:
        return list(WebhookAttempt.unscoped.filter(delivery__endpoint=self.endpoint).order_by("id"))
