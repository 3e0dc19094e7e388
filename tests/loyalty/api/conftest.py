import pytest

from loyalty.api import throttling


@pytest.fixture(autouse=True)
def full_buckets():
    throttling.forget()


@pytest.fixture
def till(db):
    from .till import Till

    return Till()
