"""Pages that are open to anybody: a discount's picture, and a shopper's own wallet, at addresses nobody can guess."""

from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from aiqsync.accounts.models import Account

from . import pictures, pins, wallet, wallet_links
from .models import Programme

FOR_EVER = "public, max-age=31536000, immutable"  # another picture has another address
# Nothing runs on the shopper's page, and nothing is fetched from elsewhere.
WALLET_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
OVER = "This address was good for 30 days, and they are over."
NONE = "This address is not right, or was ended."


@require_safe
def discount_image(request: HttpRequest, digest: str) -> HttpResponse:
    found = pictures.find(digest)
    if found is None:
        return HttpResponse("There is no picture here.", status=404, content_type="text/plain; charset=utf-8")
    request.META.pop("HTTP_ACCEPT_ENCODING", None)  # it is compressed as it is: no gzip around it
    answer = HttpResponse(bytes(found.data), content_type=found.content_type)
    answer["Cache-Control"] = FOR_EVER
    answer["ETag"] = f'"{digest}"'
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer["Cross-Origin-Resource-Policy"] = "cross-origin"  # wallets on other hosts show it
    return get_conditional_response(request, etag=answer["ETag"], response=answer)


@require_safe
def wallet_page(request: HttpRequest, token: str) -> HttpResponse:
    """What the shopper has, as of now. It names the shop and nobody: whoever has the address may be somebody else."""
    now = timezone.now()
    try:
        who = wallet_links.read(token, now=now)
        shown = wallet.show(account_id=who.account_id, persona_id=who.persona_id, now=now)
    except wallet_links.Expired:
        return _private(render(request, "aiqsync/wallet/gone.html", {"why": OVER}, status=404))
    except (wallet_links.NoWallet, LookupError):
        return _private(render(request, "aiqsync/wallet/gone.html", {"why": NONE}, status=404))
    account = Account.objects.get(pk=who.account_id)
    shows_pin = Programme.unscoped.filter(account_id=who.account_id, show_pin=True).exists()
    code = pins.shown(account_id=who.account_id, persona_id=who.persona_id, now=now) if shows_pin else ""
    with timezone.override(ZoneInfo(account.timezone)):
        page = render(
            request,
            "aiqsync/wallet/wallet.html",
            {
                "shop": account.name,
                "wallet": shown,
                "points": wallet.plain_points(shown.points),
                "expiring": wallet.plain_points(shown.next_to_expire[0]) if shown.next_to_expire else "",
                "code": code,
                "rewards": [_row(one, shown, account.currency) for one in shown.rewards],
                "read_until": min((one.until for one in shown.read if one.until), default=None),
            },
        )
    return _private(page)


# What is said to staff in other words.
_IN_WORDS = {
    wallet.BLOCKED: "It cannot be used with this phone number.",
    wallet.MIRRORED: "Ask at the till.",
    wallet.NO_CODE: "None is left.",
}


def _row(reward: wallet.Reward, shown: wallet.WalletView, currency: str) -> dict[str, object]:
    """A reward with how far it is. Where the programme hides points nothing tells how many there are."""
    short = reward.points > shown.points
    why = "" if reward.available else _IN_WORDS.get(reward.why_not, reward.why_not)
    if short and not reward.available and reward.why_not == reward.points_short(shown.points):
        why = "" if shown.hidden else f"{wallet.plain_points(reward.points - shown.points)} points to go"
    return {
        "one": reward,
        "points": wallet.plain_points(reward.points) if reward.points else "",
        "spend": f"{reward.min_spend_cents / 100:.2f} {currency}" if reward.min_spend_cents else "",
        "have": float(min(reward.points, max(shown.points, 0))),
        "of": float(reward.points),
        "progress": bool(reward.points) and not shown.hidden and short,
        "ready": reward.available,
        "why": why,
    }


def _private(page: HttpResponse) -> HttpResponse:
    """Nobody keeps it, finds it, frames it, or is told where the shopper came from."""
    page["Content-Security-Policy"] = WALLET_POLICY
    page["Cache-Control"] = "no-store, private"
    page["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    page["Referrer-Policy"] = "no-referrer"
    page["X-Content-Type-Options"] = "nosniff"
    return page
