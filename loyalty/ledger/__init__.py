"""Points: the only writer of wallets, entries, lots, draws and of what a redemption or a sale has posted.

Each verb is one call of an SQL function (`loyalty/sql/`) in a transaction of its own: it locks the wallet, posts what
is due to expire, looks, checks and writes. Locks are taken in one order by everybody: sale states, then wallets by
persona, then redemptions. So in a page's transaction `settle_sales` comes after the rows, is called once, and
`settle_redemption` comes after it.
"""

from .calls import HeldByPos, KeyTaken, NotEnoughPoints, Removed
from .erasing import Closure, erase
from .moves import (
    CannotMerge,
    Closed,
    Mirrored,
    Moved,
    NothingToCollect,
    Overridden,
    collect,
    merge,
    mirror,
    mirror_wallets,
    reexpire,
    split,
    waive,
)
from .postings import Posted, TakenOver, adjust, expire_due, import_balances
from .reading import next_n, next_to_expire, spendable, spendable_points
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
    revert_line,
    settle_again,
    settle_redemption,
    shares_of,
)
from .sales import SALES_A_CALL, BoostTarget, SaleTarget, Settled, settle_sales

__all__ = [
    "SALES_A_CALL", "AlreadyUsed", "BoostTarget", "CannotMerge", "Closed", "Closure", "HeldByPos", "KeyTaken",
    "Mirrored", "Moved", "NotAvailable", "NotEnoughPoints", "NothingToCollect", "NothingToRevert",
    "OneDiscountPerOrder", "Overridden", "Posted", "Redeemed", "Removed", "Reverted", "SaleTarget", "Settled",
    "TakenOver", "UnknownRedemption", "adjust", "collect", "erase", "expire_due", "import_balances", "merge", "mirror",
    "mirror_wallets", "next_n", "next_to_expire", "redeem", "reexpire", "revert", "revert_line", "settle_again",
    "settle_redemption", "settle_sales", "shares_of", "spendable", "spendable_points", "split", "waive",
]  # fmt: skip
