"""Coupon codes: made here or typed in, refused line by line, counted."""

import pytest
from django.utils import timezone

from aiqsync.accounts.models import Account
from loyalty import codes
from loyalty.models import CouponCode

from ..factories import make_account, make_discount

pytestmark = pytest.mark.django_db


@pytest.fixture
def ids():
    account = make_account()
    discount = make_discount(account, code_kind="unique")
    return {"account_id": account.pk, "discount_id": discount.pk, "now": timezone.now()}


def left(ids) -> tuple[int, int]:
    return codes.left(account_id=ids["account_id"], discount_id=ids["discount_id"])


def test_made_codes_cannot_be_guessed_or_misread(ids):
    assert codes.generate(**ids, count=500, prefix="SPRING-") == 500
    made = list(CouponCode.unscoped.values_list("code", flat=True))
    assert len(set(made)) == 500 and all(code.startswith("SPRING-") and len(code) == 16 for code in made)
    used = set("".join(code.removeprefix("SPRING-") for code in made))
    assert used == set(codes.ALPHABET) and not used & set("0O1Il")
    assert left(ids) == (500, 0)


@pytest.mark.parametrize("count", [0, -3])
def test_no_codes_asked_for(ids, count):
    assert codes.generate(**ids, count=count) == 0 and left(ids) == (0, 0)


def test_a_prefix_that_leaves_no_room(ids):
    with pytest.raises(ValueError, match="51 characters"):
        codes.generate(**ids, count=1, prefix="x" * 52)
    assert codes.generate(**ids, count=1, prefix="x" * 51) == 1


def test_each_line_is_taken_or_refused_by_itself(ids):
    given = [" A1 ", "", "B2", "A1", "x" * 61, "tab\there", "C3"]
    entered = codes.enter(**ids, codes=given)
    assert entered.added == 3 and left(ids) == (3, 0)
    assert entered.refused == [
        ("A1", "is in the list twice"), ("x" * 20 + "…", "longer than 60 characters"),
        ("…", "has characters that cannot be shown"),
    ]  # fmt: skip
    again = codes.enter(**ids, codes=["C3", "D4"])
    assert (again.added, again.refused) == (1, [("C3", "is a code of yours already")])


def test_a_code_is_one_discounts_in_the_whole_account(ids):
    codes.enter(**ids, codes=["A1"])
    sister = make_discount(Account.objects.get(pk=ids["account_id"]), code_kind="unique")
    assert codes.enter(**ids | {"discount_id": sister.pk}, codes=["A1"]).added == 0
    elsewhere = make_account("Other")
    other = {"account_id": elsewhere.pk, "discount_id": make_discount(elsewhere, code_kind="unique").pk}
    assert codes.enter(**ids | other, codes=["A1"]).added == 1


def test_one_statement_however_many(ids, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert codes.enter(**ids, codes=[f"N{n}" for n in range(3000)]).added == 3000
    entered = codes.enter(**ids, codes=[f"M{n}" for n in range(codes.MOST + 1)])
    assert entered.added == codes.MOST and entered.refused == [("…", "more than 20,000 at once")]
