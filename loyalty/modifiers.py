"""Points modifiers in words, and what has been sold lately for them to be about."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from django.db import connection

from .models import Modifier, ModifierKind

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SALES_LOOKED_AT = 5000  # the latest: what a shop sells stands in them, and the form opens at once
MOST_OFFERED = 2000


@dataclass(frozen=True, slots=True)
class Sold:
    """(value, what it is) of each kind, by name; a product's value is its SKU."""

    brands: list[tuple[str, str]] = field(default_factory=list)
    categories: list[tuple[str, str]] = field(default_factory=list)
    skus: list[tuple[str, str]] = field(default_factory=list)


def sold(*, account_id: int) -> Sold:
    """What was on the latest sales, each once whatever its capitals: offered, so that nobody has to spell it."""
    found = Sold()
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH lines AS MATERIALIZED (
                   SELECT l.brand, l.category, l.sku, l.name
                   FROM (SELECT id FROM integrations_sale WHERE account_id = %(account)s
                         ORDER BY sold_at DESC LIMIT %(sales)s) s
                   JOIN integrations_saleline l ON l.sale_id = s.id)
               SELECT * FROM (
                   SELECT 'brands' AS what, min(trim(brand)) AS value, '' AS name FROM lines
                   WHERE trim(brand) <> '' GROUP BY lower(trim(brand))
                   UNION ALL
                   SELECT 'categories', min(trim(category)), '' FROM lines
                   WHERE trim(category) <> '' GROUP BY lower(trim(category))
                   UNION ALL
                   SELECT 'skus', min(trim(sku)), min(trim(name)) FROM lines
                   WHERE trim(sku) <> '' GROUP BY lower(trim(sku))
               ) x ORDER BY what, lower(name), lower(value) LIMIT %(most)s""",
            {"account": account_id, "sales": SALES_LOOKED_AT, "most": MOST_OFFERED},
        )
        for what, value, name in cursor.fetchall():
            getattr(found, what).append((value, name))
    above: dict[str, str] = {}
    for value, _ in found.categories:
        while value := value.rpartition(">")[0].rstrip():
            above.setdefault(value.casefold(), value)
    there = {value.casefold() for value, _ in found.categories}
    found.categories.extend((value, "") for key, value in above.items() if key not in there)
    found.categories.sort(key=lambda one: one[0].casefold())
    return found


def in_words(one: Modifier, stores: dict[int, str]) -> str:
    """What it does, in a line."""
    match one.kind:
        case ModifierKind.MULTIPLIER:
            text = f"{one.factor.normalize():f} times the points"
        case ModifierKind.ZERO:
            text = "No points"
        case _:
            whom = "with a purchase" if one.with_sale else "to the audience"
            text = f"{one.points.normalize():f} points once, {whom}"
    for words in (one.brands, one.categories, one.skus):
        if words:
            text += f", on {', '.join(words[:3])}{' …' if len(words) > 3 else ''}"
    if one.stores:
        text += f", in {', '.join(stores.get(pk, '?') for pk in one.stores)}"
    if one.weekdays:
        text += f", {', '.join(WEEKDAYS[day][:3] for day in one.weekdays)}"
    if one.from_hour or one.to_hour:
        text += f", {one.from_hour:%H:%M}" if one.from_hour else ", "
        text += f" to {one.to_hour:%H:%M}" if one.to_hour else " on"
    if one.starts_on:
        text += f", from {_day(one.starts_on)}"
    if one.ends_on:
        text += f"{'' if one.starts_on else ','} until {_day(one.ends_on)}"
    return text if one.active else f"Off: {text}"


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def asked_in_words(item: dict[str, Any], stores: dict[int, str], audiences: dict[int, str]) -> str:
    """The same of what was asked for: plain JSON, as `changes` keeps it."""
    if item.get("archived_at"):
        return "archived"
    one = Modifier()
    for name, value in item.items():
        if name not in ("id", "audience"):
            setattr(one, name, Modifier._meta.get_field(name).to_python(value))
    one.factor = Decimal(one.factor)
    whom = audiences.get(item.get("audience") or 0)
    return f"{in_words(one, stores)}{f', for {whom}' if whom else ''}"
