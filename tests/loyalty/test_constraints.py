"""Every check, unique key, reference and trigger of the database refuses what it is there for, and it alone does.

Each case is run twice in a transaction that is rolled back: as the database is, it must be refused by that name; with
only that rule taken away, the same statement must pass. A rule of the catalogue without a case fails by its name.
"""

from contextlib import contextmanager

import pytest
from django.apps import apps
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from integrations.models import Heartbeat
from loyalty import audits
from tests.accounts.world import make_world
from tests.factories import make_account

from .constraint_cases import CONSTRAINTS, TRIGGERS, WRITERS, Case, Copy

pytestmark = pytest.mark.django_db
TABLES = sorted(
    model._meta.db_table
    for model in apps.get_models()
    if model._meta.app_label in ("accounts", "integrations", "stores", "loyalty") and model._meta.managed
)
KINDS = {"c": "check", "u": "unique", "f": "reference", "i": "unique index"}
# Django's own tables for groups and permissions have no model here; nothing of ours is in them.

_CATALOGUE = """
SELECT t.relname, c.conname, c.contype::text, pg_get_constraintdef(c.oid), c.conindid
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
WHERE t.relname = ANY(%(tables)s) AND c.contype IN ('c', 'u', 'x', 'f')
UNION ALL
SELECT t.relname, i.relname, 'i', pg_get_indexdef(i.oid), i.oid
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
WHERE t.relname = ANY(%(tables)s) AND x.indisunique
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.oid AND c.contype IN ('u', 'p', 'x'))
ORDER BY 1, 2
"""
_COLUMNS = """
SELECT a.attname FROM pg_attribute a
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = ''
"""


class Rule:
    """A constraint or unique index as the catalogue has it."""

    def __init__(self, table, name, kind, definition, index) -> None:
        self.table, self.name, self.kind, self.definition, self.index = table, name, kind, definition, index
        self.not_negative = kind == "c" and definition.endswith(" >= 0))") and name.startswith(f"{table}_")
        self.inside = kind == "f" and definition.startswith("FOREIGN KEY (account_id, ")
        self.is_parent = kind == "u" and definition.startswith("UNIQUE (account_id, ") and name.endswith(
            ("_account_id", "_account_persona")
        )  # fmt: skip

    @property
    def column(self) -> str:
        """Of a reference or a count: the column it is about; of two, the one that is not the account."""
        names = self.definition.split("(")[1 if self.kind != "c" else 2].split(")")[0].split()
        return names[-1] if self.kind != "c" else names[0]

    @property
    def parent(self) -> str:
        return self.definition.split("REFERENCES ")[1].split("(")[0]

    @property
    def by_pattern(self) -> bool:
        return self.kind == "f" or self.not_negative or self.is_parent


@pytest.fixture(scope="module")
def house(django_db_setup, django_db_blocker):
    """Two accounts with a row of everything, for the whole module, in one transaction that is rolled back."""
    with django_db_blocker.unblock(), transaction.atomic():
        mine, other = make_account("Mine"), make_account("Other")
        make_world(mine, "Mine")
        make_world(other, "Other")
        Heartbeat.objects.update_or_create(name="dispatcher", defaults={"at": timezone.now()})
        run("SET CONSTRAINTS ALL IMMEDIATE")
        yield House(mine.pk, other.pk)
        transaction.set_rollback(True)


def run(statement: str, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else cursor.rowcount


@contextmanager
def undone():
    point = transaction.savepoint()
    try:
        yield
    finally:
        transaction.savepoint_rollback(point)


class House:
    def __init__(self, mine: int, other: int) -> None:
        self.mine, self.other = mine, other
        with connection.cursor() as cursor:
            cursor.execute(_CATALOGUE, {"tables": TABLES})
            self.rules = [Rule(*row) for row in cursor.fetchall()]
        self.triggers = dict(run(
            "SELECT tgname::text, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
            " AND tgrelid::regclass::text = ANY(%s)", TABLES,
        ))  # fmt: skip

    def rule(self, name: str) -> Rule:
        return next(rule for rule in self.rules if rule.name == name)

    def text(self, statement: str | Copy) -> str:
        if isinstance(statement, str):
            return statement.format(mine=self.mine)
        table, changes = statement.table, dict(statement.changes)
        columns = [row[0] for row in run(_COLUMNS, table)]
        assert set(changes) <= set(columns), f"{table} has no such columns: {set(changes) - set(columns)}"
        mine = f"WHERE account_id = {self.mine}" if "account_id" in columns else ""
        values = [changes.get(column, f'"{column}"') for column in columns]
        names = ", ".join(f'"{column}"' for column in columns)
        return (
            f"INSERT INTO {table} ({names}) SELECT {', '.join(values)}"
            f" FROM (SELECT * FROM {table} {mine} ORDER BY 1 LIMIT 1) row"
        )

    def refusal(self, statement: str | Copy) -> str | None:
        """The name of the rule that refuses it; None: it passes. What it did is undone."""
        with undone():
            try:
                assert run(self.text(statement)), f"it touches nothing: {self.text(statement)}"
            except DatabaseError as error:
                said = error.__cause__.diag
                return said.constraint_name or said.message_primary
        return None

    def take_away(self, rule: Rule) -> None:
        if rule.kind == "i":
            run(f'DROP INDEX "{rule.name}"')
        else:
            run(f'ALTER TABLE {rule.table} DROP CONSTRAINT "{rule.name}" CASCADE')

    def take_away_others(self, rule: Rule) -> None:
        """Leave of a table's rules this one only, with the key of another table it refers to."""
        run(f"ALTER TABLE {rule.table} DISABLE TRIGGER USER")
        keys = run(
            "SELECT conname, conindid FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'", rule.table
        )
        for other in self.rules:
            leant_on = rule.kind == "f" and other.kind in "ui" and other.index == rule.index
            if other.table != rule.table or other.name == rule.name or leant_on:
                continue
            # A reference of the table to itself goes with the key it leans on.
            if run("SELECT FROM pg_constraint WHERE conname = %s UNION ALL SELECT FROM pg_class WHERE relname = %s",
                   other.name, other.name):  # fmt: skip
                self.take_away(other)
        for name, index in keys:
            if index != rule.index:
                run(f'ALTER TABLE {rule.table} DROP CONSTRAINT "{name}" CASCADE')

    def stray(self, rule: Rule) -> str:
        """A reference led to where it may not go: to the other account's row; outside of accounts, to nobody's."""
        if not rule.inside:
            return f"UPDATE {rule.table} SET {rule.column} = 0"
        key = run(
            "SELECT a.attname FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid"
            " AND a.attnum = ANY(x.indkey) WHERE x.indrelid = %s::regclass AND x.indisprimary", rule.parent,
        )[0][0]  # fmt: skip
        theirs = f"(SELECT min({key}) FROM {rule.parent} WHERE account_id = {self.other})"
        return f"UPDATE {rule.table} SET {rule.column} = {theirs} WHERE account_id = {self.mine}"

    def proves(self, rule: Rule, statement: str | Copy) -> str:
        """Alone on its table the rule refuses the statement, and without it that passes; else what is wrong."""
        with undone():
            self.take_away_others(rule)
            refused = self.refusal(statement)
            if refused != rule.name:
                return f"{rule.name}: refused by {refused}"
            self.take_away(rule)
            if still := self.refusal(statement):
                return f"{rule.name}: without it still refused by {still}"
        return ""


def ids(cases):
    seen: dict[str, int] = {}
    names = []
    for case in cases:
        seen[case.name] = seen.get(case.name, 0) + 1
        names.append(case.name if seen[case.name] == 1 else f"{case.name}-{seen[case.name]}")
    return names


@pytest.mark.parametrize("case", CONSTRAINTS, ids=ids(CONSTRAINTS))
def test_a_constraint_refuses_and_nothing_else_does(house, case: Case):
    with undone():
        for statement in case.first:
            run(house.text(statement))
        assert house.refusal(case.breaks) == case.name
        if case.but:
            assert house.refusal(case.but) is None
        house.take_away(house.rule(case.name))
        assert house.refusal(case.breaks) is None, "something else refuses it too: the case proves nothing"


@pytest.mark.parametrize("case", TRIGGERS, ids=ids(TRIGGERS))
def test_a_trigger_refuses_and_nothing_else_does(house, case: Case):
    with undone():
        for statement in case.first:
            run(house.text(statement))
        said = house.refusal(case.breaks)
        assert said and any(
            word in said for word in ("only grows", "closed month", "STOP", "never changes", "cannot go from")
        ), said
        if case.but:
            assert house.refusal(case.but) is None
        run(f"ALTER TABLE {house.triggers[case.name]} DISABLE TRIGGER {case.name}")
        assert house.refusal(case.breaks) is None, "something else refuses it too: the case proves nothing"


def test_every_reference_stays_inside_its_account(house):
    """And every other reference leads to a row. 0 is nobody's id; the other account's row is somebody else's."""
    wrong, tenant = [], 0
    for rule in house.rules:
        if rule.kind != "f":
            continue
        tenant += rule.inside
        wrong.append(house.proves(rule, house.stray(rule)))
    assert [one for one in wrong if one] == []
    assert tenant > 80


def test_the_check_names_each_reference_that_leaves_its_account(house):
    """Planted with every guard of its table taken away: of all references `check_ledger` names that one."""
    inside = {f"tenant:{rule.table}.{rule.column}": rule for rule in house.rules if rule.inside}
    looked_at = {rule.name: rule.sql for rule in audits.tenant_rules()}
    assert set(looked_at) == set(inside), "a reference is guarded and not checked, or checked and not guarded"

    def violated() -> list[str]:
        counts = "), (".join(f"'{name}', (SELECT count(*) FROM ({sql}) q)" for name, sql in looked_at.items())
        return [
            row[0] for row in run(f"SELECT name FROM (VALUES ({counts})) t (name, violations) WHERE violations > 0")
        ]

    assert violated() == []
    for name, rule in inside.items():
        stray = house.stray(rule)
        with undone():
            house.take_away_others(rule)
            house.take_away(rule)
            assert run(stray), name
            assert violated() == [name]


def test_no_count_is_below_zero(house):
    counts = [rule for rule in house.rules if rule.not_negative]
    wrong = [house.proves(rule, f"UPDATE {rule.table} SET {rule.column} = -1") for rule in counts]
    assert [one for one in wrong if one] == [] and len(counts) > 40


def test_an_id_is_one_accounts(house):
    """What references inside an account lean on: (account, id) is there once."""
    parents = [rule for rule in house.rules if rule.is_parent]
    wrong = []
    for rule in parents:
        key = rule.definition.split(", ")[1].rstrip(")")
        again = f"UPDATE {rule.table} SET {key} = (SELECT min({key}) FROM {rule.table} WHERE account_id = {house.mine})"
        with undone():
            if len(run(f"SELECT 1 FROM {rule.table} WHERE account_id = {house.mine}")) < 2:
                house.take_away_others(rule)
                columns = [row[0] for row in run(_COLUMNS, rule.table) if row[0] != key]
                names = ", ".join(f'"{column}"' for column in columns)
                run(f"INSERT INTO {rule.table} ({names}, {key}) SELECT {names}, -1 FROM {rule.table}"
                    f" WHERE account_id = {house.mine} LIMIT 1")  # fmt: skip
            wrong.append(house.proves(rule, f"{again} WHERE account_id = {house.mine}"))
    assert [one for one in wrong if one] == [] and len(parents) > 15


def test_each_rule_of_the_database_has_its_case(house):
    by_hand = {case.name for case in CONSTRAINTS}
    asked = {
        rule.name: f"{KINDS[rule.kind]} {rule.name} of {rule.table}" for rule in house.rules if not rule.by_pattern
    }
    missing = [what for name, what in asked.items() if name not in by_hand]
    assert not missing, f"no case shows what these refuse: {', '.join(missing)}"
    assert not by_hand - set(asked), f"cases of rules that are not there: {by_hand - set(asked)}"


def test_each_trigger_has_its_case(house):
    cases = {case.name for case in TRIGGERS}
    everywhere = {name for (name,) in run("SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal")}
    told = cases | set(WRITERS)
    assert told == everywhere == set(house.triggers), f"without a case: {', '.join(everywhere - told)}"
    assert run("SELECT tgname FROM pg_trigger WHERE tgenabled = 'D'") == [], "a trigger is switched off"
    assert run("SELECT conname FROM pg_constraint WHERE NOT convalidated") == [], (
        "a constraint does not hold for old rows"
    )


def test_a_rule_without_a_case_is_named(house):
    """The control of the two above: a new constraint and a new index appear in what is asked for."""
    with undone():
        run("ALTER TABLE loyalty_wallet ADD CONSTRAINT wallet_not_enormous CHECK (balance < 1000000000)")
        run("CREATE UNIQUE INDEX one_redemption_a_moment ON loyalty_redemption (persona_id, applied_at)")
        run("CREATE TRIGGER loyalty_wallet_kept BEFORE DELETE ON loyalty_wallet FOR EACH ROW"
            " EXECUTE FUNCTION loyalty_refuse_change()")  # fmt: skip
        fresh = House(house.mine, house.other)
        with pytest.raises(AssertionError, match="wallet_not_enormous"):
            test_each_rule_of_the_database_has_its_case(fresh)
        with pytest.raises(AssertionError, match="one_redemption_a_moment"):
            test_each_rule_of_the_database_has_its_case(fresh)
        with pytest.raises(AssertionError, match="loyalty_wallet_kept"):
            test_each_trigger_has_its_case(fresh)
