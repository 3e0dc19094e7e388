"""How a wish of a merchant is turned down: one sentence, or one for each field."""

from dataclasses import dataclass, field


class Refused(Exception):
    """What was asked cannot be done; the message is for the merchant, `field` the setting it is about."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


@dataclass
class Problems(Exception):
    """What is wrong with a form, by field."""

    fields: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join(self.fields.values())
