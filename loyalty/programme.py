"""The programme's settings as values: read, checked, compared, written. `changes` decides when.

Values are what JSON can hold: {"programme": {field: value}, "starts": {origin id: day or null},
"blocked": {"add": [{"phone", "note"}], "remove": [phone]}, "modifiers": [...]}. `was` is added by `clean`: what stood
there before, for the page and the activity log.
"""

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction

from aiqsync.accounts.models import Account, User
from integrations.models import Origin
from integrations.services import e164
from stores.models import Store

from . import mirror, modifiers, pins, rules
from .models import Audience, BlockedPhone, Engine, Modifier, Programme, SourceStart

# A change of one of these changes what sales are worth or when points expire, for everybody. `enabled` moves balances
# when it is switched on (sales of the pause begin to earn); off, it only pauses.
MOVING = frozenset({
    "points_per_100", "points_per_order", "max_visits_per_day", "accrual_start", "exclude_tax", "exclude_tax_from",
    "rounding", "earning_types", "opt_in_needed", "refunds", "engine", "expire_days", "expire_start", "expire_all",
})  # fmt: skip
EXPIRY = frozenset({"engine", "expire_days", "expire_start", "expire_all"})
SETTINGS = {
    field.name: field
    for field in Programme._meta.concrete_fields
    if field.editable and field.name not in ("id", "account")
}
PARTS = ("programme", "starts", "blocked", "modifiers")
NOTE_LONGEST = BlockedPhone._meta.get_field("note").max_length or 120
_PIN = re.compile(r"\d{4,8}")


class Problems(Exception):
    """What is wrong, by setting: {"points_per_100": "..."}; a start's name is `start_<origin>`, others `blocked`."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(" ".join(fields.values()))
        self.fields = fields


def of(account_id: int) -> Programme:
    """The account's programme; one that is not saved yet when it has none."""
    return Programme.objects.filter(account_id=account_id).first() or Programme(account_id=account_id)


def locked(account_id: int) -> Programme:
    """The same, made and locked: who changes it decides by what he holds."""
    Programme.objects.get_or_create(account_id=account_id)
    return Programme.objects.select_for_update().get(account_id=account_id)


# Values


def clean(*, account_id: int, values: dict[str, Any]) -> dict[str, Any]:
    """The values that differ from what is saved, checked, as JSON, with `was` beside them. Raises Problems."""
    if unknown := sorted(set(values) - set(PARTS) - {"was"}):
        raise Problems({name: "There is no such part of the programme." for name in unknown})
    found: dict[str, Any] = {}
    was: dict[str, Any] = {}
    for part, check in (("programme", _settings), ("starts", _starts), ("blocked", _blocked)):
        new, old = check(account_id, values.get(part) or {})
        if new:
            found[part], was[part] = new, old
    if values.get("modifiers"):
        found["modifiers"], was["modifiers"] = list(values["modifiers"]), _modifiers_as_they_are(values["modifiers"])
    return found | {"was": was} if found else {}


def _settings(account_id: int, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    programme = of(account_id)
    before = {name: plain(field.value_from_object(programme)) for name, field in SETTINGS.items()}
    problems: dict[str, str] = {}
    for name, value in given.items():
        field = SETTINGS.get(name)
        if field is None:
            problems[name] = "There is no such setting."
            continue
        empty = value is None or value == ""
        try:
            setattr(programme, name, field.clean(None if empty and field.null else value, programme))
        except ValidationError as error:
            problems[name] = " ".join(error.messages)
    if (
        given.get("engine") == Engine.FIFO
        and before["engine"] != Engine.FIFO
        and (why := mirror.refusal(account_id=account_id))
    ):
        problems["engine"] = why
    if problems:
        raise Problems(problems)
    after = {name: plain(SETTINGS[name].value_from_object(programme)) for name in given}
    changed = {name: value for name, value in after.items() if value != before[name]}
    return changed, {name: before[name] for name in changed}


def _starts(account_id: int, given: dict[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    known = {str(pk) for pk in Origin.objects.filter(account_id=account_id).values_list("pk", flat=True)}
    saved = {
        str(origin): day.isoformat()
        for origin, day in SourceStart.objects.filter(account_id=account_id).values_list("origin_id", "starts_on")
    }
    new: dict[str, Any] = {}
    for origin, value in given.items():
        if str(origin) not in known:
            raise Problems({f"start_{origin}": "This source is not one of yours."})
        day = None
        if value:
            try:
                day = (value if isinstance(value, date) else date.fromisoformat(str(value))).isoformat()
            except ValueError:
                raise Problems({f"start_{origin}": "A day as 2026-11-21."}) from None
        if day != saved.get(str(origin)):
            new[str(origin)] = day
    return new, {origin: saved.get(origin) for origin in new}


def _blocked(account_id: int, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    region = Account.objects.values_list("country", flat=True).get(pk=account_id)
    saved = dict(BlockedPhone.objects.filter(account_id=account_id).values_list("phone", "note"))
    add, remove = {}, []
    for item in given.get("add") or ():
        typed, note = str(item.get("phone") or ""), str(item.get("note") or "").strip()
        phone = e164(typed, region)
        if not phone:
            raise Problems({"blocked": f"“{typed[:40]}” is not a valid phone number." if typed else "Which phone?"})
        if len(note) > NOTE_LONGEST or "\x00" in note:
            raise Problems({"blocked": f"The note may have {NOTE_LONGEST} letters."})
        if saved.get(phone) != note:
            add[phone] = note
    for typed in given.get("remove") or ():
        phone = e164(str(typed), region) or str(typed)
        if phone in saved and phone not in add:
            remove.append(phone)
    new: dict[str, Any] = {}
    if add:
        new["add"] = [{"phone": phone, "note": note} for phone, note in add.items()]
    if remove:
        new["remove"] = remove
    return new, {phone: saved[phone] for phone in [*remove, *add] if phone in saved}


def plain(value: Any) -> Any:
    """A setting's value as JSON holds it; 100.00 and 100 are the same."""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return value.isoformat() if isinstance(value, date) else value


def split(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cleaned values as (what is saved at once, what moves balances)."""
    at_once: dict[str, Any] = {}
    moving: dict[str, Any] = {}
    for name, value in values.get("programme", {}).items():
        moves = name in MOVING or (name == "enabled" and value)
        part = moving if moves else at_once
        part.setdefault("programme", {})[name] = value
        part.setdefault("was", {}).setdefault("programme", {})[name] = values["was"]["programme"][name]
    for part_name in PARTS[1:]:
        if part_name in values:
            moving[part_name] = values[part_name]
            moving.setdefault("was", {})[part_name] = values["was"].get(part_name, {})
    return at_once, moving


def touches_expiry(values: dict[str, Any]) -> bool:
    return bool(EXPIRY & set(values.get("programme", {})))


def write(*, account_id: int, values: dict[str, Any], user: User | None, moved: bool) -> Programme:
    """Save cleaned values. `moved`: what was counted against the settings of before is out of date."""
    programme = locked(account_id)
    if values.get("programme", {}).get("engine") == Engine.FIFO and (why := mirror.refusal(account_id=account_id)):
        # Behind the lock: a card that began to mirror meanwhile held it (`pos_points.confirmed`).
        raise ValidationError({"engine": why})
    for name, value in values.get("programme", {}).items():
        setattr(programme, name, SETTINGS[name].to_python(value))
    programme.version += moved
    programme.save()
    for origin, day in values.get("starts", {}).items():
        mine = SourceStart.objects.filter(account_id=account_id, origin_id=int(origin))
        if day is None:
            mine.delete()
        elif not mine.update(starts_on=date.fromisoformat(day)):
            SourceStart.objects.create(account_id=account_id, origin_id=int(origin), starts_on=date.fromisoformat(day))
    blocked = values.get("blocked", {})
    for item in blocked.get("add", ()):
        BlockedPhone.objects.update_or_create(
            account_id=account_id, phone=item["phone"], defaults={"note": item["note"], "user": user}
        )
    BlockedPhone.objects.filter(account_id=account_id, phone__in=blocked.get("remove", ())).delete()
    if values.get("modifiers"):
        rules.save_modifiers(account_id, values["modifiers"])
    return programme


# In words


def said(field: models.Field | None, value: Any) -> str:
    """A setting's value as people read it."""
    if value is None or value == "":
        return "empty"
    if isinstance(value, bool):
        return "on" if value else "off"
    if field is not None and field.choices:
        return str(dict(field.flatchoices).get(value, value))
    return str(value)


def in_words(values: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What changes: (setting, before, after)."""
    was = values.get("was", {})
    lines = [
        (str(SETTINGS[name].verbose_name), said(SETTINGS[name], was["programme"].get(name)), said(SETTINGS[name], new))
        for name, new in values.get("programme", {}).items()
        if name in SETTINGS
    ]
    if starts := values.get("starts"):
        titles = {str(o.pk): o.title or str(o) for o in Origin.objects.filter(pk__in=[int(pk) for pk in starts])}
        lines += [
            (f"Accrual start of {titles.get(pk, 'a source')}", said(None, was["starts"].get(pk)), said(None, day))
            for pk, day in starts.items()
        ]
    blocked = values.get("blocked", {})
    lines += [
        ("Employee points blocklist", "on the list" if item["phone"] in was["blocked"] else "not on the list",
         f"{item['phone']} {item['note']}".strip())
        for item in blocked.get("add", ())
    ]  # fmt: skip
    lines += [("Employee points blocklist", phone, "taken off") for phone in blocked.get("remove", ())]
    return lines + _modifiers_in_words(values.get("modifiers", ()), was.get("modifiers", {}))


def _modifiers_as_they_are(items: Sequence[dict[str, Any]]) -> dict[str, str]:
    """By id, in words."""
    ids = [item["id"] for item in items if item.get("id")]
    stores = dict(Store.objects.values_list("pk", "name"))
    found = Modifier.objects.filter(pk__in=ids).select_related("audience")
    return {
        str(one.pk): modifiers.in_words(one, stores) + (f", for {one.audience}" if one.audience else "")
        for one in found
    }


def _modifiers_in_words(items: Sequence[dict[str, Any]], was: dict[str, str]) -> list[tuple[str, str, str]]:
    if not items:
        return []
    stores = dict(Store.objects.values_list("pk", "name"))
    audiences = dict(Audience.objects.values_list("pk", "name"))
    return [
        (f"Points modifier {item.get('name', '')}".strip(), was.get(str(item.get("id")), "none"),
         modifiers.asked_in_words(item, stores, audiences))
        for item in items
    ]  # fmt: skip


def for_log(values: dict[str, Any]) -> dict[str, str]:
    """The same for a line of the activity log, by the settings' own names."""
    was = values.get("was", {})
    found = {
        name: f"{said(SETTINGS.get(name), was['programme'].get(name))} → {said(SETTINGS.get(name), new)}"
        for name, new in values.get("programme", {}).items()
    }
    others = [f"{what}: {before} → {after}" for what, before, after in in_words(values | {"programme": {}})]
    return found | ({"also": "; ".join(others)} if others else {})


# The master PIN


def set_master_pin(*, account_id: int, digits: str) -> None:
    """Set the PIN that stands in for a shopper's code; empty digits clear it. Raises Problems."""
    if digits and not (_PIN.fullmatch(digits) and digits.isascii()):
        raise Problems({"master_pin": "4 to 8 digits."})
    if digits and len(set(digits)) == 1:
        raise Problems({"master_pin": "One repeated digit is guessed first: choose another."})
    with transaction.atomic():
        programme = locked(account_id)
        programme.master_pin = pins.master_digest(account_id, digits) if digits else ""
        programme.save(update_fields=["master_pin"])
