"""Which settings need, exclude or weaken one another: judged before anything is saved, in both directions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from .card import Card


@dataclass(frozen=True)
class Facts:
    """What besides the card decides. `engine`: "fifo", "legacy" or "" (no programme); ids are the vendor's."""

    today: date
    engine: str = ""
    accrual_start: date | None = None
    locations: Mapping[str, str] = field(default_factory=dict)  # id -> name, as fetched
    mapped: Collection[str] = ()  # ids of locations that are mapped to a store
    pricing_groups: Mapping[str, str] = field(default_factory=dict)
    markets: Collection[str] = ()  # of any credential
    ever_asked: bool = False  # SMS opt-ins went out for this card
    country: str = ""  # the account's
    as_of_now: bool = False  # the merchant accepts today's balance for a past import day


@dataclass
class Verdict:
    """By setting: why it cannot be, and what to know although it can."""

    refused: dict[str, str] = field(default_factory=dict)
    warned: dict[str, str] = field(default_factory=dict)
    offers: dict[str, str] = field(default_factory=dict)  # a setting of the programme -> the value that would fit


def judge(before: Mapping[str, Any], after: Mapping[str, Any], facts: Facts, card: Card) -> Verdict:
    """Whether these settings of a card go together and with the programme."""
    verdict = Verdict()
    changed = {name for name in after if after[name] != before.get(name)}
    _mirror_and_import(before, after, changed, facts, card, verdict)
    _known(after, changed, facts, card, verdict)
    _market(after, facts, card, verdict)
    if after.get("pricing_group") and not after.get("sync_personas"):
        verdict.warned["pricing_group"] = "Has no effect while “Sync Personas” is off: nobody is created."
    return verdict


def _mirror_and_import(
    before: Mapping[str, Any], after: Mapping[str, Any], changed: set[str], facts: Facts, card: Card, verdict: Verdict
) -> None:
    day = after.get("points_import_on")
    if after.get("mirror_points") and day:
        # Said of whichever is asked for: a form may bring one of the two alone.
        for name, first in (
            ("mirror_points", "clear “Loyalty points imported on” first."),
            ("points_import_on", "turn off “Mirror integration loyalty point values?” first."),
        ):
            if name in changed:
                verdict.refused[name] = f"Mirroring and importing exclude each other: {first}"
    if after.get("mirror_points") and facts.engine == "fifo":
        verdict.refused["mirror_points"] = (
            "Mirroring does not go with the FIFO expiration of your programme: the lots would contradict "
            f"{card.title}'s balances. Choose the legacy engine under Settings > Loyalty first."
        )
    if not day or "points_import_on" in verdict.refused:
        return
    on = date.fromisoformat(day)
    if "points_import_on" in changed and on < facts.today and not facts.as_of_now:
        verdict.refused["points_import_on"] = (
            f"{card.title} tells today's balance only. Choose today or a later day, or accept that the balances are "
            "taken as of now."
        )
        return
    fits = max(on, facts.today) + timedelta(days=1) if "points_import_on" in changed else on + timedelta(days=1)
    if facts.accrual_start != fits:
        starts = f"on {facts.accrual_start:%-d %b %Y}" if facts.accrual_start else "with the very first purchase"
        verdict.warned["points_import_on"] = (
            f"Points accrual starts {starts}; it should start on {fits:%-d %b %Y}, the day after the import: "
            + (
                "purchases in between earn nothing."
                if facts.accrual_start and facts.accrual_start > fits
                else "purchases before it would count twice, in the imported balance and here."
            )
        )
        verdict.offers["accrual_start"] = fits.isoformat()


def _known(after: Mapping[str, Any], changed: set[str], facts: Facts, card: Card, verdict: Verdict) -> None:
    chosen = after.get("restrict_locations") or ()
    unknown = [one for one in chosen if one not in facts.locations]
    if unknown and "restrict_locations" in changed:
        verdict.refused["restrict_locations"] = (
            f"{card.title} names no location {', '.join(unknown[:5])}: choose from the list."
        )
    elif chosen and (left := [facts.locations.get(x, x) for x in sorted(facts.mapped) if x not in chosen]):
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        verdict.warned["restrict_locations"] = (
            f"Mapped to a store, but without sales from now on: {', '.join(left[:3])}{more}."
        )
    group = after.get("pricing_group")
    if group and group not in facts.pricing_groups and "pricing_group" in changed:
        verdict.refused["pricing_group"] = f"{card.title} knows no pricing group {group}: choose from the list."


def _market(after: Mapping[str, Any], facts: Facts, card: Card, verdict: Verdict) -> None:
    if after.get("sync_to_market") and not (after.get("relevant_market") or facts.markets):
        verdict.refused["sync_to_market"] = (
            "“Sync to relevant market” needs a market: choose states or provinces on the credential first."
        )
