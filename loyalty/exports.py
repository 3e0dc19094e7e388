"""The whole ledger of an account as CSV files, for whoever keeps books or takes the programme elsewhere.

Written by the database (COPY), all of one moment, so that a million entries need no memory here. Columns have names of
their own that stay when tables change; docs/export.md lists them, and a test compares. References are contact IDs,
public ids and numbers that mean something outside; two exports of the same ledger are the same bytes.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection

from aiqsync.accounts.models import Account

from . import audits


class CannotExport(Exception):
    """The message is a sentence for the person who asked."""


def _at(column: str) -> str:
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


@dataclass(frozen=True, slots=True)
class File:
    """`columns`: name and expression; `source`: FROM and what follows, with {account}."""

    title: str
    columns: tuple[tuple[str, str], ...]
    source: str

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.columns]

    def sql(self, account_id: int) -> str:
        named = ", ".join(f'{expression} AS "{name}"' for name, expression in self.columns)
        return f"SELECT {named} FROM {self.source.format(account=int(account_id))}"


FILES: dict[str, File] = {
    "personas": File(
        "Everybody, those merged and those removed on request included",
        (
            ("contact_id", "p.contact_id"), ("merged_into", "r.contact_id"), ("first_name", "p.first_name"),
            ("last_name", "p.last_name"), ("phone", "p.phone"), ("email", "p.email"), ("birth_date", "p.birth_date"),
            ("customer_type", "p.customer_type"), ("member_from", "p.member_from"),
            ("balance", "coalesce(w.balance, 0)"), ("created_at", _at("p.created_at")),
            ("last_seen_at", _at("p.last_seen_at")), ("archived_at", _at("p.archived_at")),
            ("removed_at", _at("p.erased_at")), ("test", "p.is_test"),
        ),
        """loyalty_persona p LEFT JOIN loyalty_persona r ON r.id = p.merged_into_id
           LEFT JOIN loyalty_wallet w ON w.persona_id = p.id WHERE p.account_id = {account} ORDER BY p.id""",
    ),
    "identifiers": File(
        "What people are known by; government and medical ids only as digests",
        (
            ("contact_id", "p.contact_id"), ("kind", "i.kind"), ("value", "i.value"), ("shared", "i.shared"),
            ("created_at", _at("i.created_at")),
        ),
        """loyalty_identifier i JOIN loyalty_persona p ON p.id = i.persona_id WHERE i.account_id = {account}
           ORDER BY i.id""",
    ),
    "sources": File(
        "Which record of which POS is whose",
        (
            ("contact_id", "p.contact_id"), ("platform", "o.platform"), ("company", "o.identity"),
            ("record", "c.external_id"), ("matched_by", "s.matched_by"), ("linked_at", _at("s.linked_at")),
        ),
        """loyalty_source s JOIN loyalty_persona p ON p.id = s.persona_id
           JOIN integrations_customer c ON c.id = s.customer_id JOIN integrations_origin o ON o.id = c.origin_id
           WHERE s.account_id = {account} ORDER BY s.id""",
    ),
    "enrolments": File(
        "How and from which day people became members",
        (
            ("contact_id", "p.contact_id"), ("ground", "e.ground"), ("from_date", "e.from_date"),
            ("store", "st.number"), ("note", "e.note"), ("at", _at("e.at")),
        ),
        """loyalty_enrolment e JOIN loyalty_persona p ON p.id = e.persona_id
           LEFT JOIN stores_store st ON st.id = e.store_id WHERE e.account_id = {account} ORDER BY e.id""",
    ),
    "entries": File(
        "The ledger: every line, never changed",
        (
            ("entry", "e.id"), ("contact_id", "p.contact_id"), ("at", _at("e.at")), ("kind", "e.kind"),
            ("points", "e.points"), ("balance_after", "e.balance_after"), ("key", "e.key"),
            ("cause_at", _at("e.cause_at")), ("platform", "o.platform"), ("sale", "s.external_id"),
            ("sale_number", "s.number"), ("redemption", "r.public_id"), ("merge", "e.merge_id"), ("by", "u.email"),
            ("note", "e.note"), ("explanation", "e.explanation"),
        ),
        """loyalty_entry e JOIN loyalty_persona p ON p.id = e.persona_id
           LEFT JOIN integrations_sale s ON s.id = e.sale_id LEFT JOIN integrations_origin o ON o.id = s.origin_id
           LEFT JOIN loyalty_redemption r ON r.id = e.redemption_id LEFT JOIN accounts_user u ON u.id = e.user_id
           WHERE e.account_id = {account} ORDER BY e.id""",
    ),
    "lots": File(
        "Points that came in together: what is left of them, and until when",
        (
            ("lot", "l.id"), ("contact_id", "p.contact_id"), ("entry", "l.entry_id"), ("kind", "l.kind"),
            ("points", "l.points"), ("remaining", "l.remaining"), ("expires_at", _at("l.expires_at")),
            ("created_at", _at("l.created_at")), ("from_lot", "l.from_lot_id"),
        ),
        """loyalty_lot l JOIN loyalty_persona p ON p.id = l.persona_id WHERE l.account_id = {account} ORDER BY l.id""",
    ),
    "draws": File(
        "What an entry took from a lot (negative) or gave back to it",
        (("entry", "d.entry_id"), ("lot", "d.lot_id"), ("points", "d.points")),
        "loyalty_draw d WHERE d.account_id = {account} ORDER BY d.id",
    ),
    "discounts": File(
        "What could be had for points",
        (
            ("discount", "d.number"), ("internal_name", "d.internal_name"), ("name", "d.name"),
            ("description", "d.description"), ("reward", "d.reward"), ("kind", "d.kind"),
            ("amount_cents", "d.amount_cents"), ("percent", "d.percent"), ("points", "d.points"),
            ("min_spend_cents", "d.min_spend_cents"), ("reusable", "d.reusable"), ("cooldown_h", "d.cooldown_h"),
            ("stackable", "d.stackable"), ("in_store_only", "d.in_store_only"), ("code_kind", "d.code_kind"),
            ("static_code", "d.static_code"), ("pos_discount_id", "d.pos_discount_id"),
            ("starts_at", _at("d.starts_at")), ("ends_at", _at("d.ends_at")), ("valid_for_h", "d.valid_for_h"),
            ("archived_at", _at("d.archived_at")), ("created_at", _at("d.created_at")),
        ),
        "loyalty_discount d WHERE d.account_id = {account} ORDER BY d.number",
    ),
    "redemptions": File(
        "Each use of a discount, and what became of it",
        (
            ("redemption", "r.public_id"), ("contact_id", "p.contact_id"), ("discount", "d.number"), ("n", "r.n"),
            ("transaction", "r.transaction"), ("channel", "r.channel"), ("state", "r.state"), ("points", "r.points"),
            ("reverted_points", "r.reverted_points"), ("store", "st.number"), ("sale", "s.external_id"),
            ("sale_number", "s.number"), ("after_tax", "r.after_tax"), ("matched_by", "r.matched_by"),
            ("why_ended", "r.why_ended"), ("applied_at", _at("r.applied_at")), ("settled_at", _at("r.settled_at")),
            ("ended_at", _at("r.ended_at")),
        ),
        """loyalty_redemption r JOIN loyalty_persona p ON p.id = r.persona_id
           JOIN loyalty_discount d ON d.id = r.discount_id LEFT JOIN stores_store st ON st.id = r.store_id
           LEFT JOIN integrations_sale s ON s.id = r.sale_id WHERE r.account_id = {account} ORDER BY r.id""",
    ),
    "codes": File(
        "Coupon codes, used and unused",
        (
            ("code", "c.code"), ("discount", "d.number"), ("redemption", "r.public_id"),
            ("assigned_at", _at("c.assigned_at")), ("created_at", _at("c.created_at")),
        ),
        """loyalty_couponcode c JOIN loyalty_discount d ON d.id = c.discount_id
           LEFT JOIN loyalty_redemption r ON r.id = c.redemption_id WHERE c.account_id = {account} ORDER BY c.id""",
    ),
    "shortfalls": File(
        "Points that should have been taken back and were not there",
        (
            ("key", "f.key"), ("contact_id", "p.contact_id"), ("points", "f.points"), ("netted", "f.netted"),
            ("collected", "f.collected"), ("state", "f.state"), ("sale", "s.external_id"),
            ("redemption", "r.public_id"), ("note", "f.note"), ("at", _at("f.at")), ("closed_at", _at("f.closed_at")),
        ),
        """loyalty_shortfall f JOIN loyalty_persona p ON p.id = f.persona_id
           LEFT JOIN integrations_sale s ON s.id = f.sale_id LEFT JOIN loyalty_redemption r ON r.id = f.redemption_id
           WHERE f.account_id = {account} ORDER BY f.id""",
    ),
    "merges": File(
        "Who became part of whom, and was split off again",
        (
            ("merge", "m.id"), ("into", "w.contact_id"), ("record", "l.contact_id"), ("why", "m.why"),
            ("value", "m.value"), ("into_balance", "m.survivor_balance"), ("record_balance", "m.loser_balance"),
            ("at", _at("m.at")), ("split_at", _at("m.split_at")), ("split_points", "m.split_points"),
        ),
        """loyalty_merge m JOIN loyalty_persona w ON w.id = m.survivor_id JOIN loyalty_persona l ON l.id = m.loser_id
           WHERE m.account_id = {account} ORDER BY m.id""",
    ),
    "consent": File(
        "The journal of consent: every word, oldest first",
        (
            ("line", "l.id"), ("channel", "l.channel"), ("address", "l.address"), ("contact_id", "p.contact_id"),
            ("act", "l.act"), ("source", "l.source"), ("wording", "l.wording"), ("store", "st.number"),
            ("at", _at("l.at")), ("noted_at", _at("l.noted_at")),
        ),
        """loyalty_consentline l LEFT JOIN loyalty_persona p ON p.id = l.persona_id
           LEFT JOIN stores_store st ON st.id = l.store_id WHERE l.account_id = {account} ORDER BY l.id""",
    ),
    "consent_now": File(
        "What holds for each address",
        (
            ("channel", "s.channel"), ("address", "s.address"), ("state", "s.state"), ("since", _at("s.since")),
            ("requests", "s.requests"),
        ),
        "loyalty_consentstate s WHERE s.account_id = {account} ORDER BY s.id",
    ),
}  # fmt: skip

# What the files must sum up to: whoever carries them elsewhere can tell that nothing is missing.
_SUMS = """
SELECT (SELECT coalesce(sum(points), 0) FROM loyalty_entry WHERE account_id = %(account)s),
       (SELECT coalesce(sum(balance), 0) FROM loyalty_wallet WHERE account_id = %(account)s),
       (SELECT coalesce(sum(remaining), 0) FROM loyalty_lot WHERE account_id = %(account)s)
"""


def stream(*, account_id: int, name: str) -> Iterator[bytes]:
    """One file as it is written, with its head. KeyError when there is no such file."""
    sql = FILES[name].sql(account_id)
    with audits.one_moment(), connection.cursor() as cursor:
        yield from _copy(cursor, sql)


def _copy(cursor: Any, sql: str) -> Iterator[bytes]:
    with cursor.copy(f"COPY ({sql}) TO STDOUT WITH (FORMAT csv, HEADER)") as out:
        for data in out:
            yield bytes(data)


def write(*, account: Account, folder: Path) -> dict[str, Any]:
    """All files and `manifest.json` into a folder, readable only by its owner. Returns the manifest.

    The folder is made when it is not there; one that holds anything but an earlier export is refused. A file is put in
    its place only when it is whole, the manifest last. Raises CannotExport.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ours = {f"{name}.csv" for name in FILES} | {"manifest.json"}
    if strange := sorted(one.name for one in folder.iterdir() if one.name.removesuffix(".part") not in ours):
        raise CannotExport(f"{folder} holds other files ({strange[0]}). Name a folder of its own for the export.")
    (folder / "manifest.json").unlink(missing_ok=True)  # until the last file is there this is no export
    files: dict[str, Any] = {}
    with audits.one_moment(), connection.cursor() as cursor:
        for name, file in FILES.items():
            files[f"{name}.csv"] = _write(cursor, file.sql(account.pk), folder / f"{name}.csv") | {
                "columns": file.names
            }
        cursor.execute(_SUMS, {"account": account.pk})
        entries, balances, remaining = cursor.fetchone()
    manifest = {
        "format": 1, "account": account.uid, "name": account.name, "currency": account.currency,
        "timezone": account.timezone,
        "points": {"entries": str(entries), "balances": str(balances), "lots": str(remaining)}, "files": files,
    }  # fmt: skip
    _place(folder / "manifest.json", [json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n"])
    return manifest


def _write(cursor: Any, sql: str, path: Path) -> dict[str, Any]:
    seen = hashlib.sha256()

    def counted() -> Iterator[bytes]:
        for data in _copy(cursor, sql):
            seen.update(data)
            yield data

    size = _place(path, counted())
    return {"rows": cursor.rowcount, "bytes": size, "sha256": seen.hexdigest()}


def _place(path: Path, data: Any) -> int:
    part, size = path.with_name(f"{path.name}.part"), 0
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        for piece in data:
            size += out.write(piece)
    part.replace(path)
    return size
