"""A shopper about whom everything is known that this product can know, to be removed on request."""

from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction

from aiqsync.accounts import audit
from aiqsync.accounts.models import ApiKey, User
from aiqsync.accounts.tenancy import acting_in
from integrations import landing
from integrations.kit.records import CustomerRecord
from integrations.models import Origin
from integrations.sink import Batch, sink
from loyalty import consent, erasure, ledger, merging, messages, personas, pins, profile, receipts
from loyalty.models import (
    Audience,
    AudienceMember,
    BlockedPhone,
    Persona,
    PinUse,
    Review,
    Source,
    SourceMove,
    SuspectNumber,
)
from tests.factories import make_account, make_discount, make_user
from tests.records import NOON, customer, line, make_origin, sale

PHONE, EMAIL = "+16045550142", "ada@shop.test"
DAY = timedelta(days=1)


def arrive(origin: Origin, *records, now: datetime = NOON) -> None:
    """Land records as a page of a pull does: under the origin's lock, with what comes of them."""
    kind = type(records[0])
    land = landing.customers if kind is CustomerRecord else landing.sales
    with transaction.atomic():
        landing.lock_origin(origin.pk)
        landed = land(account_id=origin.account_id, origin_id=origin.pk, records=records)
        sink().landed(Batch(origin.account_id, origin.pk, kind, landed.new, landed.changed, now))


class Somebody:
    """Ada: a POS record with a sale, a merged second record, points, an open redemption, all that is said of her."""

    def __init__(self, **fields) -> None:
        self.account = make_account()
        self.ids = {"account_id": self.account.pk}
        self.owner: User = make_user(self.account, name="Mara Owner")
        self.origin = make_origin(self.account)
        self.record = customer(
            "c-ada", **{"phone": PHONE, "phone_raw": "604 555 0142", "email": EMAIL, "email_raw": "Ada@shop.test",
                        "birth_date": date(1990, 5, 4), "street": "1 Main St", "version": 3} | fields,
        )  # fmt: skip
        arrive(self.origin, self.record)
        with acting_in(self.account.pk):
            self.ada = Persona.objects.get()
            personas.enrol(
                persona=self.ada, ground="staff", from_date=date(2026, 1, 1), now=NOON, note="at the counter"
            )
        self.sold = sale(
            "s-ada", customer_id="c-ada", receipt="R-1",
            lines=(line(1, 6000, name="Flower", brand="Moss", category="Flower", cost_cents=2000), line(2, 4000)),
        )  # fmt: skip
        arrive(self.origin, self.sold)
        self.discount = make_discount(self.account, points=50)

    def give(self, points, note: str = "birthday", now: datetime = NOON) -> None:
        ledger.adjust(
            **self.ids, persona_id=self.ada.pk, points=Decimal(points), key=f"give:{points}:{now}", now=now, note=note,
            user_id=self.owner.pk,
        )  # fmt: skip

    def redeem(self, n: int = 0, order: str = "T-1", now: datetime = NOON):
        return ledger.redeem(
            **self.ids, persona_id=self.ada.pk, discount_id=self.discount.pk, n=n, transaction=order,
            channel="till", now=now,
        )  # fmt: skip

    def erase(self, now: datetime = NOON + DAY, persona: Persona | None = None) -> erasure.Erased:
        with acting_in(self.account.pk):
            return erasure.erase(**self.ids, persona_id=(persona or self.ada).pk, user=self.owner, now=now)

    def preview(self) -> erasure.Preview:
        with acting_in(self.account.pk):
            return erasure.preview(**self.ids, persona_id=self.ada.pk, now=NOON)

    def everything(self) -> None:
        """One row in every table that speaks of a person."""
        account, by = self.account, self.owner
        with acting_in(account.pk):
            second = personas.sign_up(
                **self.ids, region="CA", phone="+16045550177", email="moss@shop.test", first_name="Ada",
                from_date=date(2026, 1, 1), now=NOON,
            ).persona  # fmt: skip
            third = personas.sign_up(
                **self.ids, region="CA", email="third@shop.test", from_date=date(2026, 1, 1), now=NOON
            ).persona
            merging.not_the_same(**self.ids, one_id=self.ada.pk, other_id=third.pk, user=by, now=NOON)
            self.merge = merging.merge(
                **self.ids, one_id=self.ada.pk, other_id=second.pk, value="+16045550177", user=by, now=NOON
            )
            self.give(500)
            self.redeemed = self.redeem()
            AudienceMember.objects.create(
                audience=Audience.objects.create(name="Regulars"), persona=self.ada, joined_at=NOON
            )
            profile.investigate(**self.ids, persona_id=self.ada.pk, note="Ada calls", user=by, now=NOON)
            consent.record(**self.ids, channel="email", address=EMAIL, act="opt_in", source="form", now=NOON,
                           persona_id=self.ada.pk, wording="I, Ada, agree")  # fmt: skip
            consent.record(**self.ids, channel="sms", address=PHONE, act="stop", source="shopper", now=NOON,
                           persona_id=self.ada.pk, wording="STOP says Ada")  # fmt: skip
            messages.queue(**self.ids, key=f"notice:{PHONE}", channel="email", address=EMAIL, purpose="notice",
                           subject="Ada", body="Dear Ada", persona_id=self.ada.pk, now=NOON)  # fmt: skip
            pins.send(persona=self.ada, now=NOON, user=by, channel="email")
            PinUse.objects.create(
                persona=self.ada, key=ApiKey.make(account=account, name="till")[0], kind="pin", at=NOON
            )
            anonymous = sale("s-none", net=1000, tax=0)
            arrive(self.origin, anonymous)
            receipt = self.ada.sale_states.model.objects.get(sale__external_id="s-none").sale
            receipts.attach(
                **self.ids, sale_id=receipt.pk, persona_id=self.ada.pk, user=by, note="Ada showed it", now=NOON
            )
            Review.objects.create(kind="refund", sale=receipt, outcome="dismissed", note="Ada knows", user=by)
            source = Source.objects.get(persona=self.ada)
            SourceMove.objects.create(
                source=source, from_persona=third, to_persona=self.ada, why="split", value=PHONE, at=NOON
            )
            BlockedPhone.objects.create(phone="+16045550177", note="Ada works here")
            SuspectNumber.objects.create(phone="+16045550177", decision="one")
            given = {"contact_id": str(self.ada.contact_id), "points": "500", "note": "for Ada"}
            audit.record(act="points.adjusted", target="Ada Moss", user=by, detail=given)
            audit.record(act="persona.merged", target="Ada Moss", user=by, detail={"merge": self.merge.pk})
            audit.record(act="number.decided", target=PHONE, user=by, detail={"decision": "one"})
            with transaction.atomic():
                landing.refuse(
                    **self.ids, origin_id=self.origin.pk, stream="customers", now=NOON, region="CA",
                    rows=[("c-ada", "c-ada", "604-555-0142 is odd", '{"FirstName": "Ada", "LastName": "Moss"}')],
                )  # fmt: skip


def everywhere(word: str) -> set[str]:
    """Every text and JSON column of the whole database in which a word stands, whatever its case."""
    found = set()
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.table_name, array_agg(c.column_name::text) FROM information_schema.columns c
               JOIN information_schema.tables t USING (table_schema, table_name)
               WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'
                 AND c.data_type IN ('text', 'character varying', 'character', 'json', 'jsonb', 'ARRAY') GROUP BY 1"""
        )
        texts = cursor.fetchall()
        for table, columns in texts:
            tests = ", ".join(
                f"""coalesce(bool_or(strpos(lower("{one}"::text), lower(%s)) > 0), false)""" for one in columns
            )
            cursor.execute(f'SELECT {tests} FROM "{table}"', [word] * len(columns))
            found |= {f"{table}.{one}" for one, stands in zip(columns, cursor.fetchone(), strict=True) if stands}
    return found
