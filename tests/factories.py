"""Plain functions that make what tests need, with the fewest words."""

from datetime import date
from decimal import Decimal
from itertools import count

from aiqsync.accounts.models import Account, ApiKey, Membership, User
from aiqsync.accounts.roles import Role
from loyalty.models import Discount, Identifier, Persona, Programme, Wallet
from stores.models import Store

_n = count(1)


def make_account(name: str = "Harbour Cannabis", **fields) -> Account:
    account = Account.objects.create(name=name, timezone="America/Vancouver", currency="CAD", country="CA", **fields)
    Programme.unscoped.create(account=account)
    return account


def make_user(
    account: Account | None = None, role: str = Role.OWNER, password: str = "correct horse", **fields
) -> User:
    user = User.objects.create_user(
        email=fields.pop("email", f"person{next(_n)}@example.test"), password=password, **fields
    )
    if account:
        Membership.unscoped.create(account=account, user=user, role=role)
    return user


def make_key(account: Account, scope: str = "pos") -> str:
    return ApiKey.make(account=account, name="till", scope=scope)[1]


def make_store(account: Account, name: str = "Main St", number: int | None = None) -> Store:
    return Store.unscoped.create(account=account, name=name, number=number or next(_n))


def make_persona(account: Account, *, phone: str = "", email: str = "", member: bool = True, **fields) -> Persona:
    persona = Persona.unscoped.create(
        account=account,
        phone=phone,
        email=email,
        member_from=date(2020, 1, 1) if member else None,
        **{"first_name": "Ada", "last_name": "Moss"} | fields,
    )
    if phone:
        Identifier.unscoped.create(account=account, persona=persona, kind="phone", value=phone)
    if email:
        Identifier.unscoped.create(account=account, persona=persona, kind="email", value=email)
    Wallet.unscoped.create(account=account, persona=persona)
    return persona


def make_discount(
    account: Account, *, points: int = 100, cents: int = 1000, reusable: bool = True, **fields
) -> Discount:
    number = fields.pop("number", None) or next(_n)
    return Discount.unscoped.create(
        account=account,
        number=number,
        internal_name=fields.pop("internal_name", f"discount {number}"),
        name=fields.pop("name", f"${cents // 100} off"),
        amount_cents=cents if "percent" not in fields else 0,
        kind="percent" if "percent" in fields else "flat",
        points=Decimal(points),
        reusable=reusable,
        **fields,
    )
