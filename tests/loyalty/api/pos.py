"""A POS that pushes, for tests: an account with the Push API card connected, one key, and its calls."""

from datetime import UTC, date, datetime, timedelta

from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from integrations import services
from integrations.models import Customer, Sale, Stock
from loyalty.models import Persona, Programme, Wallet

from .till import Till

SALE, SALES = "createUpdateSale", "createUpdateSales"
MEMBER, MEMBERS, INVENTORY = "createUpdateMember", "createUpdateMembers", "createUpdateInventory"


def connect(account):
    link = services.connection_of(account_id=account.pk, slug="push")
    credential = services.save_credential(connection=link, given={})
    with acting_in(account.pk):
        services.connect(credential=credential, now=timezone.now())
    return credential


class Pos(Till):
    """A POS that was given our address, UID and key."""

    def __init__(self, **more):
        super().__init__(points=None, **more)
        Programme.unscoped.filter(account=self.account).update(accrual_start=date(2020, 1, 1))
        self.credential = connect(self.account)

    def at(self, call: str) -> str:
        return f"/api/v1.1/{call}/{self.account.uid}"

    def push(self, call, body, **options):
        return self.data("POST", self.at(call), body, **options)

    def fails(self, code, call, body=None, **options):
        return self.refused(code, "POST", self.at(call), body, **options)

    def member(self, key="c1", **fields):
        return self.push(MEMBER, {"pos_user": key, "firstName": "Ana", "lastName": "Diaz", **fields})

    def enrolled(self, key="c1", phone="6045550142"):
        self.member(key, mobilePhone=phone)
        persona = Persona.unscoped.get(account=self.account, phone=f"+1{phone}")
        persona.member_from = date(2020, 1, 1)
        persona.save(update_fields=["member_from"])
        return persona

    def customer(self, key="c1"):
        return Customer.unscoped.get(account=self.account, external_id=key)

    def sale(self, key="R1"):
        return Sale.unscoped.get(account=self.account, external_id=key)

    def points(self, persona):
        return Wallet.unscoped.get(persona=persona).balance

    def stock(self, key):
        return Stock.unscoped.get(account=self.account, external_id=key).quantity


def stamp(ago: timedelta = timedelta(hours=1)) -> str:
    return (datetime.now(UTC) - ago).strftime("%Y-%m-%d %H:%M:%S +0000")


def visit(key="R1", user="c1", *, total=52.5, lines=None, ago=timedelta(hours=1), **more):
    pre_roll = {"sku": "PR", "name": "Pre-roll", "category": "PRE-ROLL", "brand": "Acme", "price": 12.5, "quantity": 1}
    flower = {"sku": "FL", "name": "Flower", "category": "FLOWER", "brand": "Acme", "price": 45, "discount": 5}
    return {
        "visit": {
            "pos_id": key,
            "pos_user": user,
            "pos_type": "in-store",
            "sendNotification": 0,
            "transaction_date": stamp(ago),
            "transaction_total": total,
            "location": "Main St",
            "budtenderName": "Lee",
            "budtenderID": "E12",
            "visit_details_attributes": lines or [pre_roll, flower],
            **more,
        }
    }
