"""How a redemption reaches a POS's till: the words for the card's till panel."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Till:
    """Two ways, and which of them is true is said honestly.

    By hand (always there): redeem with us, enter the discount in the POS. `entry` says where in the POS, `settled` how
    the sale closes it, `why` why it is by hand. In the till (`can_call`): the POS's till may call our API; until a
    wallet call has arrived that is a possibility, not a fact. `steps` is what to do at the vendor's.
    """

    can_call: bool = False
    why: str = "This POS's till calls no loyalty service, so a reward reaches it by hand."
    steps: tuple[str, ...] = ()
    entry: str = "Enter it in the POS as a discount on the whole cart, named like the reward."
    settled: str = (
        "When the sale arrives here with that discount, the redemption is settled; when it arrives without it, the "
        "points go back."
    )
