"""States and provinces as ISO 3166-2 ("CA-BC", "US-WA"), from whatever a POS or a person writes.

The codes of Canada and the United States do not overlap, so a bare "BC" or "WA" needs no country. Names as in
ISO 3166-2 (2023); "PQ" and "NF" are the codes that tills bought before 2002 still print.
"""

import unicodedata

_CA = {
    "AB": "Alberta", "BC": "British Columbia", "MB": "Manitoba", "NB": "New Brunswick",
    "NL": "Newfoundland and Labrador", "NS": "Nova Scotia", "NT": "Northwest Territories", "NU": "Nunavut",
    "ON": "Ontario", "PE": "Prince Edward Island", "QC": "Quebec", "SK": "Saskatchewan", "YT": "Yukon",
}  # fmt: skip
_US = {
    "AL": "Alabama", "AK": "Alaska", "AZ": "Arizona", "AR": "Arkansas", "CA": "California", "CO": "Colorado",
    "CT": "Connecticut", "DE": "Delaware", "DC": "District of Columbia", "FL": "Florida", "GA": "Georgia",
    "HI": "Hawaii", "ID": "Idaho", "IL": "Illinois", "IN": "Indiana", "IA": "Iowa", "KS": "Kansas", "KY": "Kentucky",
    "LA": "Louisiana", "ME": "Maine", "MD": "Maryland", "MA": "Massachusetts", "MI": "Michigan", "MN": "Minnesota",
    "MS": "Mississippi", "MO": "Missouri", "MT": "Montana", "NE": "Nebraska", "NV": "Nevada", "NH": "New Hampshire",
    "NJ": "New Jersey", "NM": "New Mexico", "NY": "New York", "NC": "North Carolina", "ND": "North Dakota",
    "OH": "Ohio", "OK": "Oklahoma", "OR": "Oregon", "PA": "Pennsylvania", "PR": "Puerto Rico", "RI": "Rhode Island",
    "SC": "South Carolina", "SD": "South Dakota", "TN": "Tennessee", "TX": "Texas", "UT": "Utah", "VT": "Vermont",
    "VA": "Virginia", "WA": "Washington", "WV": "West Virginia", "WI": "Wisconsin", "WY": "Wyoming",
}  # fmt: skip
COUNTRIES = {"CA": ("Canada", _CA), "US": ("United States", _US)}
NAMES = {f"{country}-{code}": name for country, (_, some) in COUNTRIES.items() for code, name in some.items()}
_ALSO = {
    "PQ": "CA-QC", "NF": "CA-NL", "NWT": "CA-NT", "PEI": "CA-PE", "NEWFOUNDLAND": "CA-NL", "YUKON TERRITORY": "CA-YT",
    "WASHINGTON DC": "US-DC", "WASHINGTON STATE": "US-WA",
}  # fmt: skip
_COUNTRY = {"CAN": "CA", "CANADA": "CA", "USA": "US", "UNITED STATES": "US", "UNITED STATES OF AMERICA": "US"}


def _plain(text: str) -> str:
    """Capitals without accents, dots and doubled blanks: "Québec", "B.C." and " bc" are no other places."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(bare.replace(".", "").replace(",", " ").upper().split())


_KNOWN = {
    **{iso: iso for iso in NAMES},
    **{iso.split("-")[1]: iso for iso in NAMES},
    **{_plain(name): iso for iso, name in NAMES.items()},
    **_ALSO,
}
# Every writing that is understood, in small letters: for a count inside the database.
WRITINGS = tuple(sorted({known.lower() for known in _KNOWN} | {name.lower() for name in NAMES.values()} | {"québec"}))


def region_of(state: str, country: str = "") -> str:
    """The ISO code; "" when the state is blank or not to be understood. A place of a third country keeps its own
    ("MX-BC" is Baja California), so that it belongs to no market here.
    """
    said = _plain(state)
    if not said:
        return ""
    land = _plain(country)
    land = _COUNTRY.get(land, land)
    if land and land not in COUNTRIES:
        return f"{land}-{said}"[:20]
    if found := _KNOWN.get(said):
        return found
    return _KNOWN.get(said.replace("_", "-").replace("- ", "-").replace(" -", "-"), "")


def choices(country: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """(country, [(ISO code, name)]) to choose from, the account's own country first."""
    order = sorted(COUNTRIES, key=lambda one: one != country)
    return [
        (COUNTRIES[one][0], [(f"{one}-{code}", name) for code, name in sorted(COUNTRIES[one][1].items(), key=_name)])
        for one in order
    ]


def _name(item: tuple[str, str]) -> str:
    return item[1]
