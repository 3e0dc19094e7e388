"""What comes with a form, an address or a row, as text that anybody may have written."""


def whole_number(text: str) -> int | None:
    """The number of 1 to 18 plain digits, which every id fits in; None where it is anything else.

    `str.isdigit` alone is true of "²" too, of which `int` knows nothing.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
