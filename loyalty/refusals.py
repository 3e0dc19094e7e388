"""Why a discount cannot be used, as a sentence: the same words for the till, for staff and in the wallet."""

from django.utils import timezone

from . import ledger
from .wallet import plain_points

_SENTENCES = {
    "unknown": "This discount does not exist.",
    "stale": "This address is out of date; read the wallet again.",
    "disabled": "The loyalty programme is switched off.",
    "not_a_member": "The shopper is not a member.",
    "archived": "This discount is no longer offered.",
    "not_started": "This discount has not started.",
    "ended": "This discount has ended.",
    "staff_only": "This discount is redeemed by staff in the store.",
    "in_store": "This discount is for the store only: name the order of its till.",
    "store": "This discount is not for this store.",
    "audience": "This discount is not for this shopper.",
    "expired_for_you": "This discount's time is over for this shopper.",
    "blocked": "The phone is on the employee points blocklist.",
    "mirror": "The points are those of the POS's own programme; redeem there.",
    "no_code": "All coupon codes of this discount are used.",
    "used": "This discount has been used; it can be used once.",
    "given_back": "The points of this redemption were given back; read the wallet again.",
}
Refusal = (
    ledger.NotEnoughPoints,
    ledger.AlreadyUsed,
    ledger.NotAvailable,
    ledger.OneDiscountPerOrder,
)


def sentence(error: Exception, *, hidden: bool = False) -> str:
    """What a refusal of `ledger.redeem` means. Nothing was taken. `hidden`: without the balance."""
    match error:
        case ledger.NotEnoughPoints() if hidden:
            return "There are not enough points for it."
        case ledger.NotEnoughPoints():
            return f"{plain_points(error.asked)} points are needed, {plain_points(error.balance)} are there."
        case ledger.OneDiscountPerOrder():
            return "This order has another discount already; they cannot be combined. Nothing was taken."
        case ledger.NotAvailable(reason="cooldown", free_at=free_at) if free_at:
            local = timezone.localtime(free_at)
            return f"This discount can be used again from {local:%-d %b %Y, %H:%M} on."
        case ledger.NotAvailable(reason="spend", min_spend_cents=cents):
            return f"The order has to come to ${cents / 100:,.2f} at least."
        case ledger.NotAvailable() | ledger.AlreadyUsed():
            return _SENTENCES.get(error.reason, "This discount is not available.")
    raise error
