"""The rehearsal's walk: what a till does with one shopper, over HTTP, against the address that tills are given.

The way there is part of what is tried: name, proxy, certificate, key, programme. It stops at the first step that fails
and says why in a sentence. The key is made for this walk and works no more when it ends.
"""

import time
from dataclasses import dataclass
from typing import Any

import requests
from django.conf import settings
from django.utils import timezone

from loyalty import rehearsal as rehearsals
from loyalty.models import CodeKind, Discount, Rehearsal

TIMEOUT_S = 10
# Step to its title, in the order of the walk.
STEPS = {
    "reach": "Our address answers",
    "wallet": "The till finds the shopper's wallet",
    "redeem": "A reward is redeemed for an order",
    "again": "The same call again takes nothing more",
    "revert": "The reward is given back",
    "after": "The balance is what it was",
}


class Broken(Exception):
    """The step failed; the message says why, for the merchant."""


@dataclass
class _Till:
    """What a till keeps between its calls."""

    base: str
    uid: str
    order: str
    key: str
    email: str
    contact: str
    account_id: int
    points: Any = None
    reward: dict[str, Any] | None = None
    redemption: str = ""
    left: Any = None

    def call(self, method: str, address: str, body: dict[str, Any] | None = None) -> Any:
        """The answer's data; `Broken` with a sentence otherwise. Redirects are not followed: a till does not either."""
        try:
            answer = requests.request(
                method, address, json=body, headers={"X-APIKEY": self.key}, timeout=TIMEOUT_S, allow_redirects=False
            )
        except requests.exceptions.SSLError:
            raise Broken(f"{self.base} has no valid certificate: a till refuses it.") from None
        except requests.exceptions.Timeout:
            raise Broken(f"{self.base} did not answer within {TIMEOUT_S} seconds.") from None
        except requests.exceptions.RequestException:
            raise Broken(
                f"{self.base} cannot be reached from here. Is it the address under which tills reach us? Whoever runs "
                "this installation sets it as PUBLIC_URL."
            ) from None
        try:
            told = answer.json()
        except ValueError:
            told = None
        if answer.status_code == 403:
            raise Broken("The key was refused: another installation answers at this address.")
        if 300 <= answer.status_code < 400:
            raise Broken(
                f"The address leads elsewhere ({answer.headers.get('Location', '')[:100]}): a till stops there."
            )
        if not isinstance(told, dict):
            raise Broken(f"Something else answers at {self.base} (status {answer.status_code}, no data of ours).")
        if answer.status_code != 200:
            errors = told.get("errors") or []
            said = errors[0].get("message") if errors and isinstance(errors[0], dict) else told.get("message")
            raise Broken(str(said or f"It answered with status {answer.status_code}.")[:300])
        return told.get("data")


def walk(rehearsal_id: int) -> None:
    """Do the steps, noting each. Delivered twice, it runs once."""
    claimed = rehearsals.claim(rehearsal_id=rehearsal_id, now=timezone.now())
    if claimed is None:
        return
    run, key = claimed
    till = _Till(
        base=run.address, uid=run.account.uid, order=f"rehearsal-{run.pk}", key=key, email=run.persona.email,
        contact=str(run.persona.contact_id), account_id=run.account_id,
    )  # fmt: skip
    try:
        for name, step in _WALK.items():
            if not _done(run, name, step, till):
                break
    finally:
        rehearsals.finish(rehearsal=run, now=timezone.now())


def _done(run: Rehearsal, name: str, step: Any, till: _Till) -> bool:
    began = time.monotonic()
    try:
        said, ok = step(till), True
    except Broken as error:
        said, ok = str(error), False
    except (AttributeError, KeyError, TypeError, ValueError):
        said, ok = "The answer is not the one our own API gives: another installation or version answers there.", False
    rehearsals.note_step(rehearsal=run, name=name, ok=ok, said=said, ms=round(1000 * (time.monotonic() - began)))
    return ok


def _reach(till: _Till) -> str:
    stores = till.call("GET", f"{till.base}/api/v1.1/stores/{till.uid}")["stores"]
    count = len(stores or [])
    return f"{till.base} answers and knows {count} store{'' if count == 1 else 's'} of yours."


def _wallet(till: _Till) -> str:
    data = till.call("POST", f"{till.base}/api/v2/wallet", {"email": till.email})
    if data["contactID"] != till.contact:
        raise Broken("Another shopper's wallet came.")
    till.points = data["loyaltyPoints"]
    shown = [one for one in data["discountTemplates"] or () if one["available"] and not one["tierDiscount"]]
    own_codes = set(
        Discount.unscoped.filter(account_id=till.account_id, code_kind=CodeKind.UNIQUE).values_list("number", flat=True)
    )
    # A code is for one use: a rehearsal spends none.
    usable = [one for one in shown if int(one["id"]) not in own_codes]
    till.reward = min(usable, key=lambda one: (one["pointsDeduction"] == 0, one["pointsDeduction"]), default=None)
    many = len(shown)
    return f"{_points(till.points)} and {many} reward{'' if many == 1 else 's'} that can be used now."


def _redeem(till: _Till) -> str:
    if till.reward is None:
        raise Broken(
            "No reward could be used: no discount is on that everybody may use now, or the programme is off or mirrors "
            "the POS's points. Look at Discounts and at the Loyalty settings."
        )
    data = till.call("PUT", f"{_ours(till, till.reward['redemptionURL'])}/{till.order}")
    till.redemption, till.left = data["redemptionID"], data["loyaltyPoints"]
    return f"{till.reward['name']}: {_points(data['pointsDeducted'])} taken."


def _ours(till: _Till, url: str) -> str:
    """The wallet's own address, which begins with what tills are given; a key is sent nowhere else."""
    if not url.startswith(till.base + "/"):
        raise Broken(
            f"The wallet names {url.partition('/api/')[0]} for redeeming, not {till.base}. Whoever runs this "
            "installation sets PUBLIC_URL to the one tills use."
        )
    return url


def _again(till: _Till) -> str:
    data = till.call("PUT", f"{till.reward['redemptionURL']}/{till.order}")  # type: ignore[index]
    if (data["redemptionID"], data["loyaltyPoints"]) != (till.redemption, till.left):
        raise Broken("The second call was taken for another redemption.")
    return "The second call answered as the first."


def _revert(till: _Till) -> str:
    data = till.call("POST", f"{till.base}/api/v2/redemptions/{till.redemption}/revert", {})
    return f"{_points(data['pointsReturned'])} came back."


def _after(till: _Till) -> str:
    data = till.call("POST", f"{till.base}/api/v2/wallet", {"email": till.email})
    if data["loyaltyPoints"] != till.points:
        raise Broken(f"It was {_points(till.points)} and is {_points(data['loyaltyPoints'])}.")
    return f"{_points(till.points)}, as before."


def _points(value: Any) -> str:
    return f"{value:,} point{'' if value == 1 else 's'}"


_WALK = {
    "reach": _reach, "wallet": _wallet, "redeem": _redeem, "again": _again, "revert": _revert, "after": _after,
}  # fmt: skip


def address(request_root: str) -> str:
    """Where tills reach us: set by the installation, else the address this page was opened under."""
    return (settings.PUBLIC_URL or request_root).rstrip("/")
