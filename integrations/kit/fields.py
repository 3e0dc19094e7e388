"""What a merchant fills in to let us in: text and secrets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """One thing the merchant fills in. `name` is the key in storage and on the command line."""

    name: str
    label: str
    help: str = ""
    required: bool = True
    placeholder: str = ""
    secret: bool = False

    def clean(self, value: str) -> str:
        """The value as it is stored and compared."""
        return value.strip()

    def problem(self, value: Any) -> str:
        """A sentence when `value` cannot be right, else ""."""
        if self.required and not value:
            return f"{self.label} is needed."
        if len(str(value)) > 500:
            return f"{self.label} is too long: at most 500 characters."
        return ""


@dataclass(frozen=True)
class Text(Field):
    """Plain text, shown again when editing. `digits` allows nothing but digits."""

    digits: bool = False

    def clean(self, value: str) -> str:
        value = value.strip()
        # 0501200 and 501200 are one company: as two, everything would be imported twice.
        return (value.lstrip("0") or "0") if self.digits and value.isascii() and value.isdigit() else value

    def problem(self, value: Any) -> str:
        if value and self.digits and not (str(value).isascii() and str(value).isdigit()):
            return f"{self.label} is a number; yours has other characters."
        return super().problem(value)


@dataclass(frozen=True)
class Lines(Field):
    """Text of several lines, at most `longest` characters. `check` finds what is wrong with it, as a sentence."""

    longest: int = 8000
    check: Callable[[str], str] = lambda text: ""

    def clean(self, value: str) -> str:
        return "\n".join(line.rstrip() for line in value.strip().splitlines())

    def problem(self, value: Any) -> str:
        if not value:
            return f"{self.label} is needed." if self.required else ""
        if len(str(value)) > self.longest:
            return f"{self.label} is too long: at most {self.longest:,} characters."
        return self.check(str(value))


@dataclass(frozen=True)
class Secret(Field):
    """Sealed at rest, never rendered; an empty input keeps what is stored."""

    secret: bool = True
