"""How the ledger's SQL functions are called, and what every one of them may refuse."""

from contextlib import nullcontext
from decimal import Decimal
from typing import Any

import orjson
from django.db import connection, transaction

CENT = Decimal("0.01")


class NotEnoughPoints(Exception):
    """The balance does not cover what was asked; nothing was taken."""

    def __init__(self, *, balance: Decimal, asked: Decimal) -> None:
        super().__init__(f"{balance} points are there, {asked} were asked for")
        self.balance, self.asked = balance, asked


class Removed(NotEnoughPoints):
    """The person was removed on request: the wallet is closed, nothing comes in or goes out."""


class HeldByPos(NotEnoughPoints):
    """The balance is mirrored from the POS: it would be overwritten, so points are added and taken there."""


class KeyTaken(Exception):
    """The key stands for an entry of another persona or another redemption."""


def call(function: str, *values: Any) -> Any:
    """One function in one transaction. What a refusal leaves behind (expiry lines) is committed with it.

    A statement by itself is a transaction by itself: BEGIN and COMMIT would be two more round trips for the till.
    """
    own = transaction.atomic() if connection.in_atomic_block else nullcontext()
    with own, connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}", values)
        return orjson.loads(cursor.fetchone()[0])


def exact(points: Decimal) -> Decimal:
    """Points have two places; more would be rounded by the database without a word."""
    rounded = Decimal(points).quantize(CENT)
    if rounded != points:
        raise ValueError(f"{points} has more than two decimals")
    return rounded


def as_points(number: Any) -> Decimal:
    return Decimal(str(number)).quantize(CENT)


def as_json(value: dict[str, Any]) -> str:
    return orjson.dumps(value, default=str).decode()
