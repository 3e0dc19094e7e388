"""Between two tests that commit: every table without rows, as Django's `flush` leaves it."""

import threading

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction

from aiqsync.accounts.models import Account
from tests import emptying
from tests.accounts.world import TENANTS, make_world
from tests.factories import make_account

pytestmark = pytest.mark.django_db(transaction=True)


def _filled() -> set[str]:
    """Tables that hold rows, looked at one by one."""
    found = set()
    with connection.cursor() as cursor:
        for name in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT EXISTS (SELECT FROM "{name}")')
            if cursor.fetchone()[0]:
                found.add(name)
    return found


def _fill() -> None:
    """A row of every tenant model for two accounts, and what hangs on the tables that stay."""
    for word in ("Alder", "Birch"):
        make_world(make_account(word), word)
    Group.objects.create(name="readers").permissions.add(Permission.objects.first())


@pytest.mark.parametrize("most", [emptying.MOST_CHECKS, 0], ids=["row by row", "too many rows"])
def test_nothing_stays(monkeypatch, most):
    monkeypatch.setattr(emptying, "MOST_CHECKS", most)
    _fill()
    assert _filled() >= {model._meta.db_table for model in TENANTS} | {"auth_group_permissions", "accounts_user"}
    permissions = set(Permission.objects.values_list("pk", "content_type", "codename"))
    emptying.empty(connection)
    assert _filled() == emptying.KEPT
    assert set(Permission.objects.values_list("pk", "content_type", "codename")) == permissions != set()


def test_same_tables_as_flush():
    tables, _, _ = emptying._schema(connection.alias)
    flushed = set(connection.introspection.django_table_names(only_existing=True, include_views=False))
    assert flushed - tables.keys() == emptying.KEPT - {"django_migrations"}


def test_content_types_and_permissions_are_those_of_the_models():
    """They are no longer made anew after each test, so no test may find them changed."""
    made = {(t.app_label, t.model) for t in ContentType.objects.all()}
    assert ("loyalty", "persona") in made
    assert Permission.objects.filter(content_type__app_label="loyalty", codename="view_persona").exists()


def test_waits_for_a_writer():
    """Rows of a transaction that is still open when the test ends are taken as well."""
    wrote, end = threading.Event(), threading.Event()

    def write():
        with transaction.atomic():
            Account.objects.create(name="Late", timezone="UTC", currency="CAD", country="CA")
            wrote.set()
            end.wait(10)
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert wrote.wait(10)
    timer = threading.Timer(0.3, end.set)
    timer.start()
    emptying.empty(connection)
    waited = end.is_set()
    end.set()
    writer.join()
    timer.cancel()
    assert waited and not Account.objects.exists()


def test_installed():
    """Both kinds of test that commit, Django's and pytest's, end with it."""
    from django.test import TransactionTestCase

    assert TransactionTestCase._fixture_teardown is emptying._fixture_teardown


class TestOneAfterTheOther:
    """The second finds nothing of the first."""

    @pytest.mark.parametrize("n", [1, 2])
    def test_finds_nothing(self, n):
        assert _filled() <= emptying.KEPT
        _fill()
