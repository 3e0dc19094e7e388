"""What a merchant can choose on a card. The standard settings are declared here once, for every POS by its name.

A card lists those it serves; what it cannot serve it names in `Card.unserved` with the reason. Values are plain JSON:
true or false, an ISO day, an id, a list of ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from .fields import Field
from .regions import NAMES, region_of


@dataclass(frozen=True)
class Setting(Field):
    """One choice. `effect` is a sentence for the docs table, `warning` is shown beside the control, `interplay` says
    what it needs or excludes. `on`: where it is kept, the whole card or each credential. `people`: the name of the
    switch that acts on people (`kit/people.py`); such a setting shows a dry run before it takes effect.
    """

    required: bool = False
    default: Any = None
    effect: str = ""
    warning: str = ""
    interplay: str = ""
    on: str = "card"
    people: str = ""
    asks_before_clearing: bool = False  # people count on it: clearing it is counted and confirmed as well
    once: bool = False  # it acts once: put away before it has, it does not hold any more
    group: str = "Data"

    def read(self, raw: Any) -> Any:
        """What a form, the command line or JSON gives, as it is stored. `ValueError` with a sentence."""
        raise NotImplementedError

    def shown(self, value: Any, choices: Mapping[str, str] | None = None) -> str:
        """The value in words."""
        raise NotImplementedError


_ON, _OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True)
class Flag(Setting):
    """On or off."""

    default: bool = False

    def read(self, raw: Any) -> bool:
        if isinstance(raw, bool) or raw is None:
            return bool(raw)
        said = str(raw).strip().lower()
        if said in _ON:
            return True
        if said in _OFF:
            return False
        raise ValueError(f"{self.label} is on or off; “{str(raw)[:40]}” is neither.")

    def shown(self, value: Any, choices: Mapping[str, str] | None = None) -> str:
        return "on" if value else "off"


@dataclass(frozen=True)
class Day(Setting):
    """A day, inclusive, from 00:00 in the account's time zone; empty is never."""

    default: str = ""

    def read(self, raw: Any) -> str:
        said = str(raw or "").strip()
        if not said:
            return ""
        try:
            day = date.fromisoformat(said)
        except ValueError:
            raise ValueError(f"{self.label} is a day like 2026-03-01; “{said[:40]}” is none.") from None
        if not 2000 <= day.year <= 2100:
            raise ValueError(f"{self.label}: the year {day.year} cannot be meant.")
        return day.isoformat()

    def shown(self, value: Any, choices: Mapping[str, str] | None = None) -> str:
        return str(value) if value else "never"


@dataclass(frozen=True)
class OneOf(Setting):
    """One of what was fetched from the POS, by its id; empty is none. `source` names the list."""

    default: str = ""
    source: str = ""
    empty: str = "none"

    def read(self, raw: Any) -> str:
        said = str(raw or "").strip()
        if len(said) > 100:
            raise ValueError(f"{self.label}: that is none of the choices.")
        return said

    def shown(self, value: Any, choices: Mapping[str, str] | None = None) -> str:
        return (choices or {}).get(value, str(value)) if value else self.empty


@dataclass(frozen=True)
class ManyOf(Setting):
    """Some of a list, by id; none chosen means all. `source`: "locations" (fetched) or "markets"."""

    default: tuple[str, ...] = ()
    source: str = ""
    empty: str = "all"

    def read(self, raw: Any) -> list[str]:
        given = raw.split(",") if isinstance(raw, str) else list(raw or ())
        said = sorted({str(one).strip() for one in given} - {""})
        if self.source == "markets":
            said = self._regions(said)
        if len(said) > 1000 or any(len(one) > 100 for one in said):
            raise ValueError(f"{self.label}: that is none of the choices.")
        return said

    def _regions(self, said: list[str]) -> list[str]:
        """ "BC", "British Columbia" and "CA-BC" are one choice."""
        found = {one: region_of(one) for one in said}
        if unknown := [one for one, region in found.items() if region not in NAMES]:
            raise ValueError(
                f"{self.label}: “{unknown[0][:40]}” is no state or province of Canada or the United States."
            )
        return sorted(set(found.values()))

    def shown(self, value: Any, choices: Mapping[str, str] | None = None) -> str:
        names = NAMES if self.source == "markets" else (choices or {})
        return ", ".join(names.get(one, one) for one in value) if value else self.empty


# The standard settings, in the words merchants know them by.


def market(vendor: str) -> ManyOf:
    return ManyOf(
        "relevant_market",
        label="Relevant market of credential",
        help="Only shoppers who live in these states or provinces are imported. Leave empty for all.",
        effect=f"Customers of {vendor} whose state is another one are not imported and are counted; a customer without "
        "a state comes in and is counted. Shoppers who are here already stay when they move away. Their sales wait for "
        "them, and the whole list is read again when the market grows.",
        interplay="“Sync to relevant market” needs it.",
        source="markets",
        on="credential",
    )


def pricing_group(vendor: str) -> OneOf:
    return OneOf(
        "pricing_group",
        label="When syncing Personas into this integration, force a Pricing Group ID",
        help=f"Shoppers we create in {vendor} are put in this group. Leave empty for {vendor}'s own default.",
        effect=f"Every customer we create in {vendor} from then on gets the group; nobody who is there is changed.",
        interplay="Has an effect only while “Sync Personas” is on.",
        source="pricing_groups",
        empty="the POS's default",
        group="Personas",
    )


def locations(vendor: str) -> ManyOf:
    return ManyOf(
        "restrict_locations",
        label="Restrict imports by location ID",
        help="Only sales of these locations are read. Leave empty for all. Customers are not affected.",
        effect="Sales of other locations are not fetched: they earn no points, enrol nobody and count for no "
        "favourite store.",
        warning="A location that is mapped to a store but left out here has no sales any more.",
        interplay="Sales that are not imported cannot trigger the two “purchased after” settings.",
        source="locations",
    )


def freeze(vendor: str, *, mirrors: bool = False) -> Flag:
    return Flag(
        "frozen",
        label="Use last backup",
        help=f"No call to {vendor} in either direction. All data and the credentials stay.",
        effect=f"{vendor[:1].upper()}{vendor[1:]} is asked nothing and told nothing until it is turned off again; the "
        "card says since when and as of when its data is. Redemptions that wait for their sale are not released "
        "meanwhile.",
        warning="Turn it on only when you change the point of sale and wish to keep the data.",
        interplay="Does not undo mirroring: the last mirrored balances stay." if mirrors else "",
    )


def skip_payment(vendor: str) -> Flag:
    return Flag(
        "skip_payment_method",
        label="Skip importing payment method",
        help=f"Do not fetch the payment method of sales where {vendor}'s list leaves it blank.",
        effect="Saves one call for each such sale and shortens the sync; their payment method stays "
        "unknown and what was paid is taken from the lines.",
    )


def sync_personas(vendor: str, *, groups: bool = True, completes: bool = False) -> Flag:
    """`groups`: the POS has pricing groups. `completes`: who is found there gets what he lacks (`Writer.complete`)."""
    found = (
        "Who is found there gets what he lacks, once: a name where there is none, a further phone or e-mail, the birth "
        "date, an address. Nothing that stands there is replaced or removed."
        if completes
        else "Who is found there is left as he is."
    )
    return Flag(
        "sync_personas",
        label="Sync Personas",
        help=f"From the day it is turned on: profile edits made in {vendor} flow in, and shoppers who sign up with us "
        f"and have no match there are created in {vendor}.",
        effect="Off: new customers still arrive, later edits of their name, phone, e-mail, birth date and address do "
        "not, and nothing is created in the POS; merged, blocked and do-not-contact marks flow always. On: edits made "
        "from then on flow in, those made before do not, and each new member without a match by phone or e-mail is "
        f"created in {vendor} once. {found}",
        warning=f"{vendor} stays the source of truth: change names, phones and e-mails there.",
        interplay="“Force a Pricing Group ID” and “Sync to relevant market” depend on it."
        if groups
        else "“Sync to relevant market” narrows it, in both directions.",
        group="Personas",
    )


def sync_market(vendor: str) -> Flag:
    return Flag(
        "sync_to_market",
        label="Sync to relevant market",
        help="Only shoppers who are known to live in the credential's market are synced, in both directions.",
        effect=f"Customers of {vendor} outside the market or without a state are not imported and are counted; those "
        "who are here stay, without further edits; sign-ups outside it or without a state are not created in "
        f"{vendor}.",
        interplay="Needs “Relevant market of credential”.",
        group="Personas",
    )


def sms_after(vendor: str) -> Day:
    return Day(
        "sms_optin_after",
        label="Send SMS double opt-ins to Personas who purchased after",
        help="Shoppers with a phone number and a purchase on or after this day, from 00:00 in your time zone, are "
        "asked by SMS whether they want texts. The text names your programme; a YES makes them members as well.",
        effect="Asks each such shopper at most twice, in the hours texts are allowed; who said STOP is not asked.",
        warning="Changing it later is not advised. Clearing it ends no membership.",
        interplay="Needs imported sales and a source that is not frozen.",
        people="sms_optin_after",
        asks_before_clearing=True,
        group="Loyalty",
    )


def enrol_after(vendor: str) -> Day:
    return Day(
        "enrol_after",
        label="Enroll Personas in loyalty program who purchased after",
        help="Shoppers with a purchase on or after this day, from 00:00 in your time zone, become members and earn "
        "points for purchases from that day on.",
        effect="Enrols them with the ground “bought after”, now and as further purchases arrive.",
        warning="Points are owed to people at once. Moving or clearing the day ends no membership.",
        interplay="The programme's accrual start date still counts: the later of the two.",
        people="enrol_after",
        asks_before_clearing=True,
        group="Loyalty",
    )


def points_import(vendor: str) -> Day:
    return Day(
        "points_import_on",
        label="Loyalty points imported on",
        help=f"{vendor}'s points balances are taken over once, for each shopper. Today: now. A later day: at its end. "
        f"{vendor} tells today's balance only, so an earlier day is taken as of now.",
        effect="Adds each shopper's balance as an import entry, once; customers who appear later bring none.",
        warning="Set the points accrual start date to the following day, or purchases before it earn twice.",
        interplay="Excludes “Mirror integration loyalty point values?”.",
        people="points_import_on",
        once=True,
        group="Loyalty",
    )


def mirror(vendor: str) -> Flag:
    return Flag(
        "mirror_points",
        label="Mirror integration loyalty point values?",
        help=f"Balances are taken from {vendor}, again and again; the earning rules stay there.",
        effect=f"Every balance here becomes {vendor}'s and keeps being overwritten. Rewards that cost points are shown "
        "but cannot be redeemed here.",
        warning=f"Needs {vendor}'s own programme on. Freezing or disconnecting leaves the last value standing.",
        interplay="Not with the FIFO expiration engine; not with “Loyalty points imported on”.",
        people="mirror_points",
        group="Loyalty",
    )


# Every standard setting there is, in the order of a card's page: what a card lists, or names in `unserved`.
STANDARD = (
    market, locations, skip_payment, freeze, sync_personas, pricing_group, sync_market, enrol_after, sms_after,
    points_import, mirror,
)  # fmt: skip
