"""Shared set-up: the embedded test server, loopback only, plain `make_*` functions in factories.py."""

import atexit
import os
import socket
import time

import hypothesis
import pytest
from django.middleware import csrf

from . import emptying, template

# A page holds a token in each form, and a test that says what is not on the page looks through them too: out of letters
# and digits a token spells "Ada" or "2468" once in some thousand pages. Of these it spells no word and no number. They
# are letters still, which Django asks of a token, and its mask works modulo however many there are.
csrf.CSRF_ALLOWED_CHARS = "jqxzJQXZ"

# The same examples each time, and as long as they take: what a draw finds is found by `make test-long`, which draws
# anew, and not by whoever submits something else that day.
hypothesis.settings.register_profile(
    "certain", derandomize=not os.environ.get("AIQSYNC_LONG"), deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)  # fmt: skip
hypothesis.settings.load_profile("certain")
TURN_S = 30  # longer than any test that takes a day, an hour or a month


def pytest_configure(config):
    """The tests' own cluster answers before Django asks for it; whoever started it stops it."""
    from django.conf import settings

    # Slow on purpose where it guards something; here it was a third of the time.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    emptying.use()
    if settings.EMBEDDED and settings.EMBEDDED.ensure():
        atexit.register(settings.EMBEDDED.stop)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """No test is at it when a day turns, of whatever zone: that is on the hour, in the zones that are used here.

    What is of today when it is made would be of yesterday when it is looked for.
    """
    left = 3600 - time.time() % 3600
    if left < TURN_S:
        time.sleep(left + 0.1)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix, django_db_blocker):
    """The test database is a copy of one that is migrated already."""
    from django.db import connection

    with django_db_blocker.unblock():
        connection.settings_dict["TEST"]["TEMPLATE"] = template.ensure()


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch):
    """A test that reaches out of this machine is a mistake."""
    real = socket.socket.connect

    def connect(self, address):
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1", "localhost")):
            raise AssertionError(f"A test tried to reach {address}.")
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture(autouse=True)
def no_account_left_behind():
    from aiqsync.accounts.tenancy import set_current_account

    set_current_account(None)
    yield
    set_current_account(None)
