"""For tests of outbound writes: a connected Cova that creates sign-ups, and what it holds afterwards."""

import json
from datetime import date, timedelta

from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import Connection, Credential, OutboundWrite
from loyalty import personas
from loyalty.models import Ground, Persona

CRM = "/crm/v1/companies"


def turn_on(shop, **chosen) -> Connection:
    """“Sync Personas” on, an hour ago, with further settings of the card."""
    link = shop.credential.connection
    past = timezone.now() - timedelta(hours=1)
    services.save_settings(connection=link, given={"sync_personas": True} | chosen, now=past)
    return Connection.unscoped.get(pk=link.pk)


def ready(shop, **chosen) -> Connection:
    """Connected, read once, and creating."""
    shop.connect()
    shop.sync("locations", "pricing_groups", "customers")
    return turn_on(shop, **chosen)


def sign_up(account, n: int = 0, *, ground: str = Ground.FORM, **given) -> Persona:
    """Somebody whom the sandbox does not know."""
    given = given or {"phone": f"+1604777{n:04d}", "first_name": "Nova", "last_name": f"Reed {n}"}
    with acting_in(account.pk):
        return personas.sign_up(
            account_id=account.pk, region="CA", from_date=date(2026, 1, 1), now=timezone.now(), enrol_as=ground, **given
        ).persona


def in_pos(shop, *, phone: str = "", rows: bool = False) -> list[list[str]]:
    """The customers of the sandbox as its lines tell them, split; by the digits of the phone."""
    lines = [line.split("|") for line in shop.control("state?rows=1")["customers"]["rows"]]
    digits = "".join(c for c in phone if c.isdigit())[-10:]
    return [line for line in lines if not digits or line[3].endswith(digits)]


def full_in_pos(shop, external_id: str) -> dict:
    """One customer as the sandbox would answer it."""
    return json.loads(shop.sandbox.vendor.register.by_id[external_id].full)


def due_now(**lookup) -> None:
    """As if the time they wait for had passed: back-offs, leases, and the grace after a lost answer."""
    past = timezone.now() - timedelta(hours=1)
    OutboundWrite.unscoped.filter(state__in=["waiting", "sending"], **lookup).update(next_try_at=past, lease_until=None)
    OutboundWrite.unscoped.filter(asked_at__isnull=False).update(asked_at=past)
    Credential.unscoped.update(writes_after=None)


def deliver_due(*, slice_s: float | None = None) -> int:
    """Claim what is due and send it, in this process. Returns how many writes were ended."""
    batches: list[tuple[int, str]] = []
    services.dispatch_writes(enqueue=lambda origin_id, token: batches.append((origin_id, token)))
    return sum(services.run_writes(origin_id=origin, token=token, slice_s=slice_s) for origin, token in batches)


def the_write(persona: Persona | None = None) -> OutboundWrite:
    return OutboundWrite.unscoped.get(**({"subject": str(persona.contact_id)} if persona else {}))


def counts(shop) -> dict[str, int]:
    """The connection's writes by state."""
    return dict(services.writes_of(connection=Connection.unscoped.get(pk=shop.credential.connection_id)).counts)
