"""Phone numbers to E.164 and e-mail addresses to lower case: the two things shoppers are matched by.

Most numbers of a North American shop are ten digits. `phonenumbers` takes 40 microseconds for one, which
would halve the speed of a sync, so those are checked here against the library's own patterns for country code
1, compiled once. A property test holds both answers equal. Everything else goes to the library.
"""

import re
from collections.abc import Callable
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneMetadata
from phonenumbers.phonenumberutil import COUNTRY_CODE_TO_REGION_CODE

_PUNCTUATION = str.maketrans("", "", " ()-.")
_TYPES = (
    "premium_rate", "toll_free", "shared_cost", "voip", "personal_number", "pager", "uan", "voicemail",
    "fixed_line", "mobile",
)  # fmt: skip
_LONGEST = 40  # characters; an E.164 number has at most 15 digits
_EMAIL = re.compile(r"[^\s@,;<>\"]{1,64}@[^\s@,;<>\"]{1,190}")

Check = Callable[[str], object]


def _nanp_regions() -> list[tuple[Check | None, Check]]:
    """Country code 1 in the library's order: (leading digits if any, number is of a known type)."""
    regions: list[tuple[Check | None, Check]] = []
    for code in COUNTRY_CODE_TO_REGION_CODE[1]:
        metadata = PhoneMetadata.metadata_for_region(code)
        if metadata is None:
            continue
        kinds = [getattr(metadata, name) for name in _TYPES]
        patterns = [
            f"(?:{kind.national_number_pattern})"
            for kind in kinds
            if kind is not None
            and kind.national_number_pattern
            and (not kind.possible_length or 10 in kind.possible_length)
        ]
        general = metadata.general_desc.national_number_pattern if metadata.general_desc else ".*"
        known = re.compile(rf"(?=(?:{general})\Z)(?:{'|'.join(dict.fromkeys(patterns))})").fullmatch
        leading = re.compile(metadata.leading_digits).match if metadata.leading_digits else None
        regions.append((leading, known))
    return regions


_REGIONS = _nanp_regions()
_FIRST = _REGIONS[0][1]  # the United States, without leading digits


def _valid_nanp(digits: str) -> bool:
    """`is_valid_number` for ten digits: the first region that claims the number decides."""
    if _FIRST(digits):
        return True
    for leading, known in _REGIONS[1:]:
        if leading is None:
            if known(digits):
                return True
        elif leading(digits):
            return known(digits) is not None
    return False


def e164(raw: str, region: str = "US") -> str:
    """`+12505550142`, or "" when it is not valid. `region` is for numbers without a country code."""
    if not raw or len(raw) > _LONGEST:
        return ""
    digits = raw.translate(_PUNCTUATION)
    if digits.startswith("+1"):
        digits = digits[1:]
        national = len(digits) == 11
    else:
        national = region in ("US", "CA") and (len(digits) == 10 or (len(digits) == 11 and digits[0] == "1"))
    if national and digits.isascii() and digits.isdigit():
        ten = digits[-10:]
        return "+1" + ten if _valid_nanp(ten) else ""
    return _by_library(raw, region)


@lru_cache(maxsize=4096)
def _by_library(raw: str, region: str) -> str:
    try:
        number = phonenumbers.parse(raw, region or None)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(number):
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def is_placeholder(e164: str) -> bool:
    """True for what cashiers type to get past the field: ten equal digits, or seven equal ones at the end."""
    return len(e164) > 7 and len(set(e164[-7:])) == 1


def email(raw: str) -> str:
    """Lower case and trimmed, or "" when it is not of the form x@y.z."""
    found = raw.strip().lower()
    if len(found) > 254 or not _EMAIL.fullmatch(found):
        return ""
    domain = found.rpartition("@")[2]
    if "." not in domain or domain[0] in ".-" or domain[-1] in ".-" or ".." in domain:
        return ""
    return found
