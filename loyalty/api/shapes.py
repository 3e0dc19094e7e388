"""Request bodies: shape only. Each reader names the field it refuses."""

import math
from decimal import Decimal
from typing import Any

from rest_framework.request import Request

from .base import CONTROL
from .envelope import Unreadable

_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": None}


class Body:
    """A JSON object, read field by field. Fields nobody asks for are ignored; null is the same as absent."""

    def __init__(self, request: Request) -> None:
        data = request.data
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise Unreadable("The body must be a JSON object.")
        self.fields: dict[str, Any] = data
        self.where = ""

    @classmethod
    def of(cls, fields: dict[str, Any], where: str = "") -> "Body":
        """An object inside a body; what it refuses is named as its part."""
        made = cls.__new__(cls)
        made.fields, made.where = fields, f"{where}." if where else ""
        return made

    def text(self, *names: str, longest: int = 200) -> str:
        """The first of the names that is there, trimmed; "" when none is. A whole number is taken as its digits."""
        for name in names:
            value = self.fields.get(name)
            if value is None:
                continue
            if isinstance(value, int) and not isinstance(value, bool):
                value = str(value)
            if not isinstance(value, str):
                raise Unreadable(f"{self.where}{name}: must be text.")
            value = value.strip()
            if len(value) > longest:
                raise Unreadable(f"{self.where}{name}: at most {longest} characters.")
            if CONTROL.search(value):
                raise Unreadable(f"{self.where}{name}: contains characters that cannot be stored.")
            if value:
                return value
        return ""

    def words(self, name: str, *, longest: int) -> str:
        """Text as it is, of several lines too (CR LF as LF); "" when it is not there."""
        value = self.fields.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise Unreadable(f"{self.where}{name}: must be text.")
        value = value.replace("\r\n", "\n").replace("\r", "\n")
        if len(value) > longest:
            raise Unreadable(f"{self.where}{name}: at most {longest} characters.")
        if CONTROL.search(value.replace("\n", "")):
            raise Unreadable(f"{self.where}{name}: contains characters that cannot be stored.")
        return value

    def flag(self, name: str) -> bool | None:
        """True, False, or None when it is not there. Clients also send 0, 1 and words."""
        value = self.fields.get(name)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | str):
            word = str(value).strip().lower()
            if word in _WORDS:
                return _WORDS[word]
        raise Unreadable(f"{self.where}{name}: must be true or false.")

    def cents(self, name: str) -> int | None:
        """Dollars from 0 on as whole cents (a part of a cent is dropped), or None when the field is not there."""
        value = self.number(name)
        if value is None:
            return None
        if not 0 <= value < 10**9:
            raise Unreadable(f"{self.where}{name}: must be dollars, 0 or more.")
        return int(Decimal(str(value)) * 100)

    def points(self, name: str) -> Decimal | None:
        """Points above 0 with at most two decimals, or None when the field is not there."""
        value = self.number(name)
        if value is None:
            return None
        if not 0 < value < 10**12:
            raise Unreadable(f"{self.where}{name}: must be above 0.")
        points = Decimal(str(value))
        if points != round(points, 2):
            raise Unreadable(f"{self.where}{name}: at most two decimals.")
        return round(points, 2)

    def change(self, name: str) -> Decimal:
        """Points to add, or below 0 to take: at most two decimals, not 0."""
        value = self.number(name)
        if value is None or not value:
            raise Unreadable(f"{self.where}{name}: how many points? Above 0 adds, below 0 takes.")
        if not abs(value) < 10**9:
            raise Unreadable(f"{self.where}{name}: too many points.")
        points = Decimal(str(value))
        if points != round(points, 2):
            raise Unreadable(f"{self.where}{name}: at most two decimals.")
        return round(points, 2)

    def number(self, name: str) -> int | float | None:
        """A finite number, or None when the field is not there."""
        value = self.fields.get(name)
        if value is None:
            return None
        if isinstance(value, str):
            value = self.text(name, longest=20)
            try:
                value = float(value)
            except ValueError:
                raise Unreadable(f"{self.where}{name}: must be a number.") from None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Unreadable(f"{self.where}{name}: must be a number.")
        return value
