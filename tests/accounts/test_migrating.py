"""`Together` says to the database what its operations say one after the other, and refuses what would differ."""

import pytest
from django.db import connection, models
from django.db.migrations import operations as o
from django.db.migrations.migration import Migration
from django.db.migrations.state import ModelState, ProjectState

from aiqsync.accounts.migrating import Together

KEY = ("id", models.BigAutoField(primary_key=True))
POSITIVE = models.CheckConstraint(condition=models.Q(cents__gt=0), name="sale_cents")


def _before() -> ProjectState:
    state = ProjectState()
    state.add_model(ModelState("shop", "Shop", [KEY, ("name", models.CharField(max_length=20))]))
    sale = [KEY, ("cents", models.IntegerField()), ("note", models.TextField())]
    state.add_model(ModelState("shop", "Sale", sale, {"constraints": [POSITIVE]}))
    return state


def _operations() -> list[o.base.Operation]:
    sale = models.ForeignKey("shop.sale", models.CASCADE)
    return [
        o.CreateModel("Line", [KEY, ("number", models.IntegerField()), ("sale", sale)],
                      options={"indexes": [models.Index(fields=["sale", "number"], name="line_order")]}),
        o.AddField("sale", "shop", models.ForeignKey("shop.shop", models.CASCADE, null=True)),
        o.AddField("sale", "first", models.ForeignKey("shop.line", models.CASCADE, null=True, related_name="+")),
        o.AddField("sale", "state", models.CharField(max_length=8, default="open"), preserve_default=False),
        o.AlterField("shop", "name", models.CharField(max_length=90, db_index=True)),
        o.RemoveField("sale", "note"),
        o.RemoveConstraint("sale", "sale_cents"),
        o.AddConstraint("sale", models.CheckConstraint(condition=models.Q(cents__gte=0), name="sale_cents")),
        o.AddConstraint("sale", models.UniqueConstraint(fields=["shop", "state"], name="sale_once")),
        o.AddIndex("sale", models.Index(fields=["shop", "cents"], name="sale_by_shop")),
        o.AlterModelOptions("shop", {"ordering": ["name"]}),
    ]  # fmt: skip


def _run(operations, verb: str) -> tuple[list[str], ProjectState]:
    """The statements of a migration of these operations, and the state it leaves."""
    migration = Migration("0002", "shop")
    migration.operations = operations
    state = _before()
    assert state.apps  # as the executor hands it on
    with connection.schema_editor(collect_sql=True, atomic=False) as editor:
        after = getattr(migration, verb)(state, editor)
    return [line for line in editor.collected_sql if not line.startswith("--")], after


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["apply", "unapply"])
def test_the_same_statements_in_the_same_order(verb):
    alone, _ = _run(_operations(), verb)
    together, _ = _run([Together(*_operations())], verb)
    assert together == alone and len(alone) >= 10


@pytest.mark.django_db
def test_the_same_state_afterwards():
    _, alone = _run(_operations(), "apply")
    _, together = _run([Together(*_operations())], "apply")
    assert together == alone
    assert {f.name for f in together.apps.get_model("shop", "sale")._meta.fields} >= {"shop", "first", "state"}


@pytest.mark.django_db
def test_models_are_rendered_once(monkeypatch):
    rendered = []
    render = ModelState.render
    monkeypatch.setattr(ModelState, "render", lambda state, apps: rendered.append(state.name) or render(state, apps))
    _run([Together(*_operations())], "apply")
    assert sorted(rendered) == sorted(["Shop", "Sale"] + ["Shop", "Sale", "Line"])


@pytest.mark.parametrize(
    "operations",
    [
        [o.RunSQL("SELECT 1")],
        [o.RunPython(o.RunPython.noop)],
        [o.RenameField("sale", "cents", "total")],
        [o.CreateModel("Line", [KEY]), o.AddField("line", "n", models.IntegerField())],
        [o.CreateModel("Line", [KEY]), o.AddIndex("Line", models.Index(fields=["id"], name="n"))],
        [o.CreateModel("Line", [KEY]), o.AlterModelOptions("Line", {"ordering": ["id"]})],
        [o.AddField("sale", "n", models.IntegerField()), o.AlterField("sale", "n", models.TextField())],
    ],
)
def test_what_builds_on_another_is_refused(operations):
    with pytest.raises(ValueError):
        Together(*operations)
