"""The bench's databases: a house without shoppers, and copies of it that are filled by `seed`."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from aiqsync.accounts.tenancy import acting_in
from aiqsync.embedded import ROLE

from .seed import EXPIRE_DAYS, House, Seed

SMALL, LARGE, MANY = "volume_small", "volume_large", "volume_many"
REWARDS = 20  # discounts a wallet shows


@dataclass(frozen=True)
class Keys:
    """How the bench comes in: the till's key and the owner's session, the same in every copy."""

    account: int
    uid: str
    key: str
    session: str
    cheap: int  # the discount of 10 points that is redeemed by the thousand
    cheap_number: int
    now: float


class Databases:
    """Made once in a folder; a later run with the same folder finds them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.told = home / "volume.json"

    def admin(self, name: str) -> psycopg.Connection:
        return psycopg.connect(
            host=str(settings.EMBEDDED.socket_dir), dbname=name, user="postgres", autocommit=True,
            cursor_factory=psycopg.ClientCursor,
        )  # fmt: skip

    def names(self) -> set[str]:
        with self.admin("postgres") as admin:
            return {row[0] for row in admin.execute("SELECT datname FROM pg_database").fetchall()}

    def copy(self, of: str, name: str) -> None:
        connection.close()  # nobody may be at work in what is copied
        with self.admin("postgres") as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {name}")
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {of} OWNER {ROLE} STRATEGY file_copy")

    def keys(self) -> Keys:
        """The house, made at the first asking."""
        if not self.told.exists():
            house, keys = make_house()
            self.told.write_text(json.dumps({"house": asdict(house), "keys": asdict(keys)}))
            connection.close()
        return Keys(**json.loads(self.told.read_text())["keys"])

    def fill(self, name: str, people: int, *, events: bool = True) -> None:
        """A copy with so many shoppers, unless it is there already."""
        keys, kept = self.keys(), self.home / f"{name}.done"
        if kept.exists() and kept.read_text() == str(people) and name in self.names():
            use(name)
            call_command("migrate", verbosity=0)  # the code may be newer than the folder
            return
        house = House(**json.loads(self.told.read_text())["house"])
        began = time.monotonic()
        use(ROLE)
        call_command("migrate", verbosity=0)
        connection.close()
        self.copy(ROLE, name)
        with self.admin(name) as admin:
            Seed(admin, house, people, datetime.fromtimestamp(keys.now, tz=timezone.get_default_timezone()),
                 events=events).run()  # fmt: skip
            size = admin.execute("SELECT pg_size_pretty(pg_database_size(current_database()))").fetchone()[0]
        kept.write_text(str(people))
        print(f"{name}: {people:,} shoppers, {size}, made in {time.monotonic() - began:.0f} s", file=sys.stderr)


def use(name: str) -> None:
    """Work in this database from now on; each has its own connections, so nobody else notices."""
    connection.close()
    connection.settings_dict["NAME"] = name


def make_house() -> tuple[House, Keys]:
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    from aiqsync.accounts.models import Membership, User
    from aiqsync.accounts.roles import Role
    from aiqsync.pages.accounts import open_account
    from integrations.models import Connection, Credential, CredentialState, Location, Origin, StreamState
    from loyalty.models import (
        Audience,
        CouponCode,
        Discount,
        DiscountAudience,
        DiscountStore,
        Modifier,
        Programme,
    )
    from stores.models import Store, StoreMapping

    call_command("migrate", verbosity=0)
    now = timezone.now()
    account, owner, key = open_account(
        name="Bench", owner_email="owner@bench.example", timezone="America/Vancouver", currency="CAD", country="CA"
    )
    with acting_in(account.pk):
        Programme.objects.update(expire_days=EXPIRE_DAYS)
        staff = [User.objects.create_user(f"staff{n}@bench.example", name=f"Budtender {n}") for n in range(12)]
        Membership.objects.bulk_create(Membership(account=account, user=user, role=Role.STAFF) for user in staff)
        origin = Origin.objects.create(platform="cova", identity="1", title="Bench")
        credential = Credential.objects.create(
            connection=Connection.objects.create(card="cova"), origin=origin, state=CredentialState.CONNECTED
        )
        for stream in ("customers", "sales"):
            StreamState.objects.create(credential=credential, stream=stream, read_until=now, first_done_at=now)
        stores = [Store.objects.create(name=f"Store {n}", number=n) for n in range(1, 6)]
        places = [Location.objects.create(origin=origin, external_id=str(n), name=f"Place {n}") for n in range(1, 7)]
        for place, store in zip(places, stores, strict=False):  # the sixth place is nobody's
            StoreMapping.objects.create(location=place, store=store)
        audience = Audience.objects.create(name="Regulars", by_rules=False)
        boost = Modifier.objects.create(name="Welcome", kind="boost", points=Decimal(40), active=False)
        rewards = [
            Discount.objects.create(
                number=n, internal_name=f"reward {n}", name=f"Reward {n}", amount_cents=500, points=Decimal(100),
                reusable=True, rank=n, limited_audiences=n == 2, limited_stores=n == 3, cooldown_h=24 if n == 4 else 0,
                valid_for_h=90_000 if n == 5 else None, code_kind="unique" if n == 6 else "none",
            )
            for n in range(1, REWARDS + 1)
        ]  # fmt: skip
        cheap = Discount.objects.create(
            number=REWARDS + 1, internal_name="cheap", name="Cheap", amount_cents=50, points=Decimal(10), reusable=True
        )
        DiscountAudience.objects.create(discount=rewards[1], audience=audience)
        for store in stores:
            DiscountStore.objects.create(discount=rewards[2], store=store)
        CouponCode.objects.bulk_create(
            CouponCode(account=account, discount=rewards[5], code=f"CODE-{n}") for n in range(2000)
        )
    session = SessionStore()
    session[SESSION_KEY], session[HASH_SESSION_KEY] = str(owner.pk), owner.get_session_auth_hash()
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session.set_expiry(timedelta(days=7))
    session.save()
    house = House(
        account=account.pk, origin=origin.pk, locations=[one.pk for one in places], stores=[one.pk for one in stores],
        discounts=[one.pk for one in rewards], coded=rewards[5].pk, audience=audience.pk, boost=boost.pk,
        staff=[one.pk for one in staff],
    )  # fmt: skip
    return house, Keys(account.pk, str(account.uid), key, session.session_key, cheap.pk, cheap.number, now.timestamp())
