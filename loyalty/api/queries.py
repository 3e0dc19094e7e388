"""What stands behind the question mark, and words in a path: each reader names what it refuses."""

from rest_framework.request import Request

from .envelope import Refused

_YES, _NO = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})
FURTHEST = 10**9


def flag(request: Request, name: str) -> bool | None:
    """True, False, or None when it is not there."""
    word = request.query_params.get(name, "").strip().lower()
    if not word:
        return None
    if word not in _YES | _NO:
        raise Refused(f"{name}: must be true or false.")
    return word in _YES


def window(request: Request, *, usual: int = 100, most: int = 2000) -> tuple[int, int]:
    """`start` and `limit` of a list. Figures out of bounds are brought inside, as clients send some; words are not."""
    return _figure(request, "start", 0, 0, FURTHEST), _figure(request, "limit", usual, 1, most)


def _figure(request: Request, name: str, usual: int, least: int, most: int) -> int:
    said = request.query_params.get(name, "").strip()
    if not said:
        return usual
    digits = said.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise Refused(f"{name}: must be a whole number.")
    if said.startswith("-"):
        return least
    return most if len(digits) > 12 else min(max(int(digits), least), most)
