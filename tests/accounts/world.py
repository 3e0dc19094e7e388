"""One row of every tenant model for an account, each bearing a word that nobody else may ever read."""

from datetime import date, timedelta
from decimal import Decimal

from django.apps import apps
from django.utils import timezone

from aiqsync.accounts.models import Account, ApiKey, AuditLine, Membership
from aiqsync.accounts.tenancy import TenantModel, acting_in
from integrations import models as i
from loyalty import models as y
from stores import models as s
from tests.factories import make_user

TENANTS = [model for model in apps.get_models() if issubclass(model, TenantModel) and model._meta.managed]


def make_world(account: Account, word: str) -> dict[str, TenantModel]:
    """Model name to its row. A tenant model without a row here fails `test_every_tenant_model_has_a_row`."""
    now = timezone.now()
    with acting_in(account.pk):
        user = make_user(account, name=f"{word} owner", email=f"{word.lower()}@example.test")
        key, _ = ApiKey.make(account=account, name=f"{word} tills")
        AuditLine.objects.create(act="said", target=word, user=user, key=key, detail={"word": word})
        origin = i.Origin.objects.create(platform="cova", identity=word, title=word)
        connection = i.Connection.objects.create(card="cova")
        credential = i.Credential.objects.create(
            connection=connection, origin=origin, values={"company_id": word}, state="connected", message=word
        )
        location = i.Location.objects.create(origin=origin, external_id="1", name=f"{word} place")
        i.PricingGroup.objects.create(origin=origin, external_id="1", name=word)
        customer = i.Customer.objects.create(origin=origin, external_id="c1", first_name=word)
        sale = i.Sale.objects.create(
            origin=origin,
            external_id="s1",
            number=word,
            receipt=word,
            location=location,
            customer_id="c1",
            employee_name=word,
            sold_at=now,
            total_cents=7_654_321,
        )
        i.SaleLine.objects.create(
            sale=sale, number=1, name=word, quantity=1, list_price=1, unit_price=1, total_cents=100
        )
        stream = i.StreamState.objects.create(credential=credential, stream="sales", message=word, failures=9)
        i.SyncRun.objects.create(stream=stream, message=word, status="failed")
        i.RefusedRow.objects.create(origin=origin, stream="sales", key="1", reason=word, row={"word": word})
        store = s.Store.objects.create(number=1, name=f"{word} store")
        s.StoreMapping.objects.create(location=location, store=store)
        s.StoreStaff.objects.create(membership=Membership.objects.get(user=user), store=store)
        s.StoreKey.objects.create(key=key, store=store)
        y.Programme.objects.get_or_create(account=account)
        persona = y.Persona.objects.create(
            first_name=word, phone="+16045550142", email=f"{word.lower()}@shop.test", member_from=date(2026, 1, 1)
        )
        y.Identifier.objects.create(persona=persona, kind="phone", value=persona.phone)
        y.Source.objects.create(persona=persona, customer=customer, matched_by="phone")
        y.Enrolment.objects.create(persona=persona, ground="staff", from_date=date(2026, 1, 1), note=word)
        y.Wallet.objects.create(persona=persona, balance=Decimal(500))
        y.SaleState.objects.create(sale=sale, persona=persona)
        discount = y.Discount.objects.create(
            number=1, internal_name=word, name=word, amount_cents=500, points=100, starts_at=now - timedelta(days=1)
        )
        redemption = y.Redemption.objects.create(
            persona=persona,
            discount=discount,
            n=0,
            transaction=word,
            channel="till",
            state="applied",
            points=100,
            store=store,
            applied_at=now,
        )
        entry = y.Entry.objects.create(
            persona=persona, kind="adjust", points=500, balance_after=500, key="e1", note=word, at=now
        )
        lot = y.Lot.objects.create(
            persona=persona, entry=entry, kind="adjust", points=500, remaining=500, created_at=now
        )
        y.Draw.objects.create(entry=entry, lot=lot, points=-1)
        y.Shortfall.objects.create(persona=persona, key="f1", points=1, redemption=redemption, at=now)
        return {model.__name__: found for model in TENANTS if (found := model.objects.order_by("pk").first())}


def snapshot(account: Account) -> dict[str, list[dict]]:
    """Every row the account has, as values."""
    with acting_in(account.pk):
        return {model.__name__: list(model.objects.order_by("pk").values()) for model in TENANTS}
