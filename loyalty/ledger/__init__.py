"""Points: the only writer of wallets, entries, lots, draws and of what a redemption or a sale has posted.

Each verb is one call of an SQL function (`loyalty/sql/`) in a transaction of its own: it locks the wallet, posts what
is due to expire, looks, checks and writes. Locks are taken in one order by everybody: sale states, then wallets by
persona, then redemptions. So in a page's transaction `settle_sales` comes after the rows, is called once, and
`settle_redemption` comes after it.
"""

from .calls import KeyTaken, NotEnoughPoints
from .postings import Posted, adjust, expire_due
from .reading import next_to_expire, spendable, spendable_points
from .redemptions import (
    AlreadyUsed,
    NotAvailable,
    NothingToRevert,
    OneDiscountPerOrder,
    Redeemed,
    Reverted,
    UnknownRedemption,
    redeem,
    revert,
    settle_redemption,
)
from .sales import SALES_A_CALL, SaleTarget, Settled, settle_sales

__all__ = [
    "SALES_A_CALL", "AlreadyUsed", "KeyTaken", "NotAvailable", "NotEnoughPoints", "NothingToRevert",
    "OneDiscountPerOrder", "Posted", "Redeemed", "Reverted", "SaleTarget", "Settled", "UnknownRedemption", "adjust",
    "expire_due", "next_to_expire", "redeem", "revert", "settle_redemption", "settle_sales", "spendable",
    "spendable_points",
]  # fmt: skip
