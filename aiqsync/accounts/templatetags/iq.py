"""How moments, points, money and phones are written, everywhere the same: filters for pages, functions for lists."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import phonenumbers
from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

CURRENCY_SIGNS = {"USD": "$", "CAD": "$", "EUR": "€", "GBP": "£"}


def exact(moment: datetime) -> str:
    """`21 Nov 2026, 14:02 PST` in the account's time zone."""
    return timezone.localtime(moment).strftime("%-d %b %Y, %H:%M %Z")


def relative(moment: datetime, now: datetime) -> str:
    """`4 min ago`; a day after two weeks."""
    minutes = (now - moment).total_seconds() / 60
    ahead, minutes = minutes < 0, abs(minutes)
    if minutes < 1:
        return "in a moment" if ahead else "just now"
    if minutes < 60:
        text = f"{int(minutes)} min"
    elif minutes < 60 * 24:
        text = f"{int(minutes / 60)} h"
    elif minutes < 60 * 24 * 14:
        days = int(minutes / 60 / 24)
        text = "1 day" if days == 1 else f"{days} days"
    else:
        return timezone.localtime(moment).strftime("%-d %b %Y")
    return f"in {text}" if ahead else f"{text} ago"


@register.filter
def when(moment: datetime | None, empty: str = "never") -> SafeString | str:
    """A moment as people say it, the exact one on hovering."""
    if moment is None:
        return empty
    return format_html(
        '<time datetime="{}" title="{}" class="iq-num">{}</time>',
        moment.isoformat(),
        exact(moment),
        relative(moment, timezone.now()),
    )


@register.filter
def points(value: Any) -> str:
    """`1,250` or `1,250.50`."""
    value = Decimal(value or 0)
    return f"{value:,.0f}" if value == value.to_integral_value() else f"{value:,.2f}"


@register.filter
def signed(value: Any) -> str:
    """`+150`, `−40`: with the sign a reader expects."""
    value = Decimal(value or 0)
    return ("+" if value > 0 else "−" if value < 0 else "") + points(abs(value))


@register.filter
def money(cents: int | None, currency: str = "USD") -> str:
    """`$1,234.50` from cents; a currency without a sign is written out."""
    cents = cents or 0
    sign = CURRENCY_SIGNS.get(currency or "USD", f"{currency} ")
    return f"{'−' if cents < 0 else ''}{sign}{abs(cents) / 100:,.2f}"


@register.filter
def percent(share: float | None) -> str:
    """`12.5 %` of a share between 0 and 1; a whole number without its decimal."""
    if share is None:
        return "–"
    return f"{share * 100:.1f}".removesuffix(".0") + " %"


@register.filter
def phone(e164: str) -> str:
    """`(604) 555-0142` for North America, else with the country code."""
    if not e164:
        return ""
    if e164.startswith("+1") and len(e164) == 12:
        return f"({e164[2:5]}) {e164[5:8]}-{e164[8:]}"
    try:
        number = phonenumbers.parse(e164)
    except phonenumbers.NumberParseException:
        return e164
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def pill(text: str, tone: str = "", why: str = "") -> SafeString:
    """A state in a word, on hovering also why. Tones: good, warn, bad, info, or none."""
    tone = f" iq-pill-{tone}" if tone else ""
    if why:
        return format_html('<span class="iq-pill{}" title="{}">{}</span>', tone, why, text)
    return format_html('<span class="iq-pill{}">{}</span>', tone, text)


register.filter("pill", pill)


def number(text: str) -> SafeString:
    """Digits that stand in line."""
    return format_html('<span class="iq-num">{}</span>', text)


def link(text: str, url: str) -> SafeString:
    return format_html('<a class="iq-link" href="{}">{}</a>', url, text)
