import pytest

from loyalty.api import throttling


@pytest.fixture(autouse=True)
def full_buckets(settings):
    settings.WEB_WORKERS = 1
    throttling.forget()


@pytest.fixture
def till(db):
    from .till import Till

    return Till()
