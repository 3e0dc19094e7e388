"""One row of every tenant model for an account, each bearing a word that nobody else may ever read."""

from datetime import date, timedelta
from decimal import Decimal

from django.apps import apps
from django.utils import timezone

from aiqsync.accounts.models import Account, Alert, AlertMail, ApiKey, AuditLine, Membership
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
        alert = Alert.objects.create(
            kind="stale_stream", subject=word, title=word, text=word, since=now, opened_at=now, path="/admin/"
        )
        AlertMail.objects.create(alert=alert, event="opened", address=f"{word.lower()}@example.test",
                                 next_try_at=now, created_at=now, message=word, state="failed")  # fmt: skip
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
        i.PushedCall.objects.create(origin=origin, call=word, body=[{"word": word}])
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
        _programme_rows(word, now, origin, store)
        _people_rows(word, now, persona, sale, user)
        _reward_rows(word, now, persona, discount, redemption, store, user)
        _points_rows(word, now, persona, customer, store)
        _consent_rows(word, now, persona)
        tester = y.Persona.objects.create(first_name=f"{word} test", is_test=True)
        y.IdempotentCall.objects.create(key=word, fingerprint="0" * 64, status=200, body="{}", at=now)
        y.UnmatchedCall.objects.create(key=key, at=now, method="GET", path=f"/{word}", status=404, reason="Not Found")
        y.Rehearsal.objects.create(
            connection=connection, persona=tester, key=key, address=word, state="failed", at=now,
            steps=[{"name": "reach", "ok": False, "said": word, "ms": 1}],
        )  # fmt: skip
        _webhook_rows(word, now, persona, redemption)
        i.Suppression.objects.create(kind="phone", digest=f"{word}-digest")
        _card_rows(word, connection, origin, location, persona)
        return {model.__name__: found for model in TENANTS if (found := model.objects.order_by("pk").first())}


def _card_rows(word, connection, origin, location, persona) -> None:
    i.SettingChange.objects.create(connection=connection, setting="enrol_after", message=word)
    i.OutboundWrite.objects.create(
        origin=origin, writer="customer", key="w1", subject=str(persona.contact_id), payload={"first_name": word},
        message=word,
    )  # fmt: skip
    i.OutsideMarket.objects.create(origin=origin, external_id="c2", state="WA")
    i.CustomerBalance.objects.create(origin=origin, external_id="c1", points=7_654_321, location=location)
    i.Product.objects.create(origin=origin, external_id="p1", sku=word, name=word)
    i.Stock.objects.create(origin=origin, external_id="p1|1", product_id="p1", location=location, quantity=1)
    upload = i.Upload.objects.create(
        origin=origin, kind="contacts", name=f"{word}.csv", place=f"{word}.csv|1", state="done", size=3, message=word,
        shape={"form": "csv", "encoding": "utf-8", "separator": ",", "header": [word], "start": 0},
    )  # fmt: skip
    i.UploadChunk.objects.create(upload=upload, start=0, data=word.encode())
    i.UploadError.objects.create(upload=upload, number=2, reason=word, cells=[word])
    i.ColumnMapping.objects.create(origin=origin, kind="sales", columns={word: "total"})
    y.ContactAlias.objects.create(persona=persona, alias=f"alias {word}", origin=origin, points=7_654_321)
    y.SourceHint.objects.create(persona=persona, platform="clover", external_id=word)
    i.Term.objects.create(origin=origin, external_id="employee:1", kind="employee", name=word)


def _webhook_rows(word, now, persona, redemption) -> None:
    endpoint = y.WebhookEndpoint.objects.create(
        url=f"https://{word.lower()}.example.org/{word}", description=word, events=["points.changed"],
        secrets={"now": f"whsec_{word}", "before": None}, why=word, created_at=now, state="paused",
    )  # fmt: skip
    event = y.WebhookEvent.objects.create(
        key=f"entry:{word}", kind="points.changed", payload={"word": word}, persona=persona, at=now, created_at=now
    )
    delivery = y.WebhookDelivery.objects.create(
        event=event, endpoint=endpoint, state="failed", next_at=now, created_at=now
    )
    y.WebhookAttempt.objects.create(delivery=delivery, at=now, ms=5, status=500, response=word, error=word)
    y.CheckIn.objects.create(
        store=redemption.store, persona=persona, first_name=word, phone="+16045550142", email="ada@shop.test",
        order=word, at=now, changed_at=now,
    )  # fmt: skip
    y.RedemptionChange.objects.create(redemption=redemption, state="settled", at=now)


def _programme_rows(word, now, origin, store) -> None:
    y.SourceStart.objects.create(origin=origin, starts_on=date(2026, 1, 1))
    y.BlockedPhone.objects.create(phone="+16045550143", note=word)
    audience = y.Audience.objects.create(name=word, description=word, store=store)
    y.Modifier.objects.create(name=word, kind="boost", factor=1, points=5, audience=audience)
    y.ProgrammeChange.objects.create(
        values={"word": word}, counted={"word": word}, state="counted", version=1, created_at=now
    )
    y.Job.objects.create(kind="recompute", message=word, state="failed")


def _people_rows(word, now, persona, sale, user) -> None:
    gone = y.Persona.objects.create(first_name=f"{word} gone", merged_into=persona)
    y.Merge.objects.create(
        survivor=persona, loser=gone, why="phone", value=word, survivor_balance=0, loser_balance=0, at=now
    )
    y.SourceMove.objects.create(
        source=y.Source.objects.get(), from_persona=gone, to_persona=persona, why="split", value=word, at=now
    )
    y.SuspectNumber.objects.create(phone="+16045550144", customers=3, people=3)
    y.NotTheSame.objects.create(one=persona, other=gone)
    y.Attachment.objects.create(sale=sale, persona=persona, note=word)
    y.Investigation.objects.create(persona=persona, note=word, user=user)
    y.Override.objects.create(persona=persona, field="address", value=word)
    y.Attribute.objects.create(persona=persona, key=word, value=word)
    y.Referral.objects.create(referrer=persona, referred=gone)


def _reward_rows(word, now, persona, discount, redemption, store, user) -> None:
    audience = y.Audience.objects.get()
    y.DiscountStore.objects.create(discount=discount, store=store)
    y.DiscountAudience.objects.create(discount=discount, audience=audience)
    y.DiscountImage.objects.create(
        discount=discount, content_type="image/png", data=b"png", digest=word.encode().hex()[:32].ljust(32, "0")
    )
    y.AudienceMember.objects.create(audience=audience, persona=persona, joined_at=now, by_hand=True)
    y.CouponCode.objects.create(discount=discount, code=word)
    y.Review.objects.create(kind="waiting", redemption=redemption, outcome="dismissed", note=word, user=user)


def _points_rows(word, now, persona, customer, store) -> None:
    y.BoostState.objects.create(modifier=y.Modifier.objects.get(), persona=persona, at=now)
    y.MirrorState.objects.create(customer=customer, persona=persona, at=now)
    y.Mirroring.objects.create(origin=customer.origin, since=now, ended_at=now)
    y.PointsImport.objects.create(origin=customer.origin, taken_at=now)
    y.WaitingBalance.objects.create(origin=customer.origin, customer=customer, points=5)
    i.BalanceReading.objects.create(origin=customer.origin)
    y.Seal.objects.create(number=1, first_entry=1, last_entry=1, entries=1, points=0, digest="0" * 64)
    close = y.MonthClose.objects.create(
        month=date(2026, 1, 1), starts_at=now - timedelta(days=31), ends_at=now, last_entry=1
    )
    y.LedgerCheck.objects.create(violations=1, rules=1, found=[{"promise": word, "count": 1, "examples": [word]}])
    y.MonthFigure.objects.create(close=close, store=store, kind="earn", points=7_654_321)


def _consent_rows(word, now, persona) -> None:
    line = y.ConsentLine.objects.create(
        channel="sms", address=persona.phone, persona=persona, act="opt_in", source="form", wording=word, at=now
    )
    y.ConsentState.objects.create(channel="sms", address=persona.phone, state="in", since=now, line=line)
    y.Message.objects.create(
        key="m1", channel="sms", address=persona.phone, persona=persona, purpose="notice", body=word, not_before=now
    )
    y.Pin.objects.create(persona=persona, digest="0", created_at=now, expires_at=now + timedelta(minutes=5))
    y.PinUse.objects.create(persona=persona, key=ApiKey.objects.first(), kind="pin", at=now)


def snapshot(account: Account) -> dict[str, list[dict]]:
    """Every row the account has, as values."""
    with acting_in(account.pk):
        return {model.__name__: list(model.objects.order_by("pk").values()) for model in TENANTS}
