"""The ledger as CSV files: complete, of one moment, the same bytes twice."""

import csv
import hashlib
import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from aiqsync.accounts.models import AuditLine
from aiqsync.accounts.tenancy import acting_in
from loyalty import exports
from loyalty.models import Discount, Entry, Lot, Persona, Redemption, Wallet
from tests.factories import make_account, make_persona

from .removed import NOON, Somebody

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def shop():
    made = Somebody()
    made.everything()
    return made


def export(shop, folder, capsys) -> dict:
    call_command("export_ledger", account=shop.account.uid, out=str(folder))
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def total(rows, column) -> Decimal:
    return sum((Decimal(row[column]) for row in rows), Decimal(0))


def test_fault_7_10_the_whole_ledger_can_be_taken_elsewhere(shop, tmp_path, capsys):
    """Not only balances: entries, lots, redemptions, codes, memberships and consent, each summing up to the ledger."""
    said = export(shop, tmp_path, capsys)
    entries, lots, people = (read(tmp_path, name) for name in ("entries", "lots", "personas"))
    sums = {total(entries, "points"), total(lots, "remaining"), total(people, "balance"), Decimal("560.00")}
    assert sums == {Decimal(value) for value in said["points"].values()} and len(sums) == 1
    assert len(entries) == Entry.unscoped.count() and len(lots) == Lot.unscoped.count()
    by_person: dict[str, Decimal] = defaultdict(Decimal)
    for row in entries:
        by_person[row["contact_id"]] += Decimal(row["points"])
    assert {row["contact_id"]: Decimal(row["balance"]) for row in people if Decimal(row["balance"])} == {
        contact: points for contact, points in by_person.items() if points
    }
    # What each lot took part in adds up, so that expiries can be carried on elsewhere.
    drawn: dict[str, Decimal] = defaultdict(Decimal)
    for row in read(tmp_path, "draws"):
        drawn[row["lot"]] += Decimal(row["points"])
    assert all(Decimal(row["points"]) + drawn[row["lot"]] == Decimal(row["remaining"]) for row in lots)
    (redemption,) = read(tmp_path, "redemptions")
    made = Redemption.unscoped.get()
    assert (redemption["redemption"], redemption["points"], redemption["state"], redemption["discount"]) == (
        str(made.public_id), "50.00", "applied", str(Discount.unscoped.get(pk=made.discount_id).number),
    )  # fmt: skip
    assert [row["redemption"] for row in entries if row["redemption"]] == [str(made.public_id)]
    assert len(read(tmp_path, "enrolments")) == 3 and len(read(tmp_path, "consent")) == 2
    assert {row["act"] for row in read(tmp_path, "consent")} == {"opt_in", "stop"}
    earned = next(row for row in entries if row["kind"] == "earn")
    assert (earned["platform"], earned["sale"], earned["sale_number"]) == ("cova", "s-ada", "IN-s-ada")
    assert json.loads(earned["explanation"])["why"] == "earned" and earned["cause_at"].endswith("Z")


def test_twice_is_the_same_bytes(shop, tmp_path, capsys):
    for folder in ("one", "two"):
        export(shop, tmp_path / folder, capsys)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted([*(f"{name}.csv" for name in exports.FILES), "manifest.json"])
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    export(shop, tmp_path / "one", capsys)  # over itself
    assert (tmp_path / "one" / "manifest.json").read_bytes() == (tmp_path / "two" / "manifest.json").read_bytes()


def test_the_manifest_tells_whether_something_is_missing(shop, tmp_path, capsys):
    export(shop, tmp_path, capsys)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["account"] == shop.account.uid and set(manifest["files"]) == {f"{n}.csv" for n in exports.FILES}
    for name, told in manifest["files"].items():
        data = (tmp_path / name).read_bytes()
        assert (told["bytes"], told["sha256"]) == (len(data), hashlib.sha256(data).hexdigest()), name
        assert told["rows"] == len(read(tmp_path, name.removesuffix(".csv"))), name
        assert told["columns"] == data.decode().splitlines()[0].split(","), name
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, "others may read it"


def test_nothing_of_another_account(shop, tmp_path, capsys):
    other = make_account("Other Co")
    with acting_in(other.pk):
        make_persona(other, first_name="Zanzibar", phone="+16045550199")
    export(shop, tmp_path, capsys)
    assert not [path for path in tmp_path.iterdir() if b"Zanzibar" in path.read_bytes()]
    with acting_in(shop.account.pk):
        assert AuditLine.objects.get(act="ledger.exported").detail["count"] > 10


def test_somebody_who_was_removed_keeps_his_lines_and_no_name(shop, tmp_path, capsys):
    shop.erase()
    export(shop, tmp_path, capsys)
    row = next(one for one in read(tmp_path, "personas") if one["contact_id"] == str(shop.ada.contact_id))
    assert (
        row["removed_at"].startswith("2026-03-03T")
        and row["first_name"] == row["phone"] == ""
        and row["balance"] == "0.00"
    )
    assert any(one["key"].startswith("erase:") for one in read(tmp_path, "entries"))


def test_text_with_commas_quotes_and_lines_survives(shop, tmp_path, capsys):
    note = 'says "hello",\nthen leaves; =1+1'
    shop.give(1, note=note)
    export(shop, tmp_path, capsys)
    assert note in {row["note"] for row in read(tmp_path, "entries")}


def test_what_cannot_be(shop, tmp_path):
    with pytest.raises(CommandError, match="no account"):
        call_command("export_ledger", account="999999", out=str(tmp_path / "x"))
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(CommandError, match="holds other files"):
        call_command("export_ledger", account=shop.account.uid, out=str(tmp_path))
    (tmp_path / "a file").write_text("")
    with pytest.raises(CommandError):
        call_command("export_ledger", account=shop.account.uid, out=str(tmp_path / "a file"))


def test_memory_stays_flat(shop):
    """Ten times the entries, the same peak: the database writes, and what comes is passed on in pieces."""
    import tracemalloc

    def peak() -> int:
        tracemalloc.start()
        length = sum(len(piece) for piece in exports.stream(account_id=shop.account.pk, name="entries"))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert length > 0
        return found

    def grow(upto: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                """INSERT INTO loyalty_entry
                       (account_id, persona_id, kind, points, balance_after, key, note, explanation, at)
                   SELECT %s, %s, 'adjust', 1, 1, 'grown:' || n, repeat('x', 200), '{}', %s
                   FROM generate_series(1, %s) n ON CONFLICT DO NOTHING""",
                [shop.account.pk, shop.ada.pk, NOON, upto],
            )

    grow(2_000)
    small = peak()
    grow(20_000)
    assert peak() < max(2 * small, 200_000)


def test_the_columns_stand_in_the_documentation():
    told = (ROOT / "docs" / "export.md").read_text()
    for name, file in exports.FILES.items():
        section = told.split(f"## {name}.csv", 1)[1].split("\n## ", 1)[0]
        assert file.title in section, name
        assert [one for one in file.names if f"`{one}`" not in section] == [], name


def test_a_person_of_two_rows_stays_two_rows(shop, tmp_path, capsys):
    export(shop, tmp_path, capsys)
    part = Persona.unscoped.get(pk=shop.merge.loser_id)
    row = next(one for one in read(tmp_path, "personas") if one["contact_id"] == str(part.contact_id))
    assert row["merged_into"] == str(shop.ada.contact_id)
    (merge,) = read(tmp_path, "merges")
    assert (merge["into"], merge["record"], merge["value"]) == (row["merged_into"], row["contact_id"], "+16045550177")
    assert Wallet.unscoped.get(persona=part).balance == 0
