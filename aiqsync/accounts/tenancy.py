"""Which account is being worked for, and the model base that cannot forget it.

The current account is set by the middleware (pages), by the key (API) and by `acting_in` (tasks, commands). Without
one, a tenant's default manager refuses to run. `unscoped` is the way around it: greppable, and listed in a test.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db import migrations, models

_current: ContextVar[int | None] = ContextVar("current_account", default=None)


class NoCurrentAccount(RuntimeError):
    """A tenant's rows were asked for while no account was current."""


def current_account_id() -> int | None:
    return _current.get()


def set_current_account(account_id: int | None) -> None:
    """For middleware and authentication, which end with the request; everybody else uses `acting_in`."""
    _current.set(account_id)


@contextmanager
def acting_in(account_id: int) -> Iterator[None]:
    """Work for one account; the one before is current again afterwards."""
    token = _current.set(account_id)
    try:
        yield
    finally:
        _current.reset(token)


class TenantManager(models.Manager):
    """Rows of the current account, and of no other."""

    def get_queryset(self):
        account_id = _current.get()
        if account_id is None:
            raise NoCurrentAccount(f"{self.model.__name__}: no account is current; use acting_in().")
        return super().get_queryset().filter(account_id=account_id)


class TenantKey(models.ForeignKey):
    """A reference inside one account.

    The database's own constraint carries both columns (see `TenantReferences`), so Django's single-column one is left
    out: a row of one account cannot point to another's, whoever writes it.
    """

    def __init__(self, to, on_delete=models.PROTECT, **options):
        options.setdefault("db_constraint", False)
        super().__init__(to, on_delete, **options)


class TenantModel(models.Model):
    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="+", editable=False)

    objects = TenantManager()
    unscoped = models.Manager()

    class Meta:
        abstract = True

    def save(self, *args, **options):
        if self.account_id is None:
            self.account_id = _current.get()
        super().save(*args, **options)


class TenantReferences(migrations.RunSQL):
    """Migration step: `(account_id, id)` unique in each parent, references from `table` carrying both columns.

    `references` maps a column of `table` to its parent table.
    """

    def __init__(self, table: str, references: dict[str, str]) -> None:
        forward, backward = [], []
        for column, parent in references.items():
            name = f"{table}_{column}_tenant"[:60]
            forward.append(
                f"ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY (account_id, {column}) "
                f"REFERENCES {parent} (account_id, id) DEFERRABLE INITIALLY IMMEDIATE"
            )
            backward.append(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        super().__init__(forward, backward)
        self.table, self.references = table, references

    def deconstruct(self):
        return self.__class__.__name__, [self.table, self.references], {}


def tenant_parent(name: str) -> models.UniqueConstraint:
    """The constraint every referenced tenant table needs."""
    return models.UniqueConstraint(fields=["account", "id"], name=f"{name}_account_id")
