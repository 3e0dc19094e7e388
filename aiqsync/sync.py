"""Joins the floors: what `integrations` lands is handed to `loyalty`."""


def install() -> None:
    """Give integrations its sink. Called once, at start-up."""
