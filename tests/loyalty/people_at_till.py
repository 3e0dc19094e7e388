"""Two shoppers of one account who may turn out to be one, with the fewest words."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from loyalty import ledger
from loyalty.models import Discount, Entry, Merge, Persona, Redemption, Wallet

from ..factories import make_account, make_discount, make_persona

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Shop:
    """`ada` and `eve` are members; each verb names its persona, `ada` where none is named."""

    def __init__(self, points: int = 500, **discount) -> None:
        self.account = make_account()
        self.ada, self.eve = make_persona(self.account), make_persona(self.account)
        self.discount = make_discount(self.account, points=100, **discount)
        if points:
            self.give(points)

    def give(self, points, persona: Persona | None = None, *, now=NOW, expires_at=None):
        return ledger.adjust(
            account_id=self.account.pk, persona_id=(persona or self.ada).pk, points=Decimal(points),
            key=str(uuid.uuid4()), now=now, expires_at=expires_at,
        )  # fmt: skip

    def redeem(
        self, persona: Persona | None = None, *, discount: Discount | None = None, n=0, order="", now=NOW, **more
    ):
        return ledger.redeem(
            **{"account_id": self.account.pk, "persona_id": (persona or self.ada).pk, "n": n, "transaction": order,
               "discount_id": (discount or self.discount).pk, "channel": "web", "now": now} | more
        )  # fmt: skip

    def revert(self, redeemed, points=None, *, now=NOW, **more):
        return ledger.revert(
            account_id=self.account.pk, redemption_public_id=redeemed.redemption_id, now=now,
            points=points and Decimal(points), **more,
        )  # fmt: skip

    def merge(self, survivor: Persona | None = None, loser: Persona | None = None, *, now=NOW) -> Merge:
        """`eve` into `ada`, unless others are named."""
        row = Merge.unscoped.create(
            account=self.account, survivor=survivor or self.ada, loser=loser or self.eve, why="manual", at=now,
            survivor_balance=0, loser_balance=0,
        )  # fmt: skip
        ledger.merge(account_id=self.account.pk, merge_id=row.pk, now=now)
        return row

    def split(self, merge: Merge, *, now=NOW) -> None:
        ledger.split(account_id=self.account.pk, merge_id=merge.pk, now=now)

    def points(self, persona: Persona | None = None) -> Decimal:
        return Wallet.unscoped.get(persona=persona or self.ada).balance

    def row(self, redeemed) -> Redemption:
        return Redemption.unscoped.get(public_id=redeemed.redemption_id)

    def lines(self, redeemed) -> list[tuple[str, int]]:
        rows = Entry.unscoped.filter(redemption=self.row(redeemed)).order_by("id")
        return [(entry.key.split(":", 2)[0], int(entry.points)) for entry in rows]
