"""Redeeming: once, safe to repeat, by nobody but the one the address was made for."""

import re
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from loyalty import ledger, links
from loyalty.models import CouponCode, Discount, Programme, Redemption
from tests.factories import make_account, make_discount, make_persona
from tests.loyalty.ledger_sales import make_sales

from .till import Till, at_once

DAY = timedelta(days=1)


@pytest.fixture
def discount(till):
    return make_discount(till.account, points=400)


def test_a_tills_redemption(till, discount):
    done = till.data("PUT", till.url(discount) + "/INV-1")
    redemption = Redemption.unscoped.get()
    assert done == {
        "redemptionID": str(redemption.public_id),
        "pointsDeducted": 400,
        "loyaltyPoints": 600,
        "code": None,
        "transactionID": "INV-1",
        "state": "applied",
    }
    assert (redemption.transaction, redemption.channel, redemption.state) == ("INV-1", "till", "applied")
    assert till.balance == 600 == till.wallet()["loyaltyPoints"]


def test_a_web_shops_redemption_is_settled(till, discount):
    done = till.data("PUT", till.url(discount))
    assert (done["transactionID"], done["state"], done["loyaltyPoints"]) == (None, "settled", 600)
    assert Redemption.unscoped.get().state == "settled"


@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b"[]"])
@pytest.mark.parametrize("content_type", ["application/json", "", "application/x-www-form-urlencoded"])
def test_the_body_does_not_matter(till, discount, body, content_type):
    assert till.data("PUT", till.url(discount) + "/1/", raw=body, content_type=content_type)["transactionID"] == "1"


@pytest.mark.parametrize("transaction", ["", "/", "/INV-1", "/INV-1/", "/a/b c:#1", "/" + "9" * 100])
def test_a_repeat_answers_the_same_bytes(till, discount, transaction):
    url = till.url(discount) + transaction.replace(" ", "%20").replace("#", "%23")
    first = till.call("PUT", url)
    assert first.status_code == 200 and "Idempotent-Replayed" not in first
    till.give(5000)  # the balance moves on; the answer does not
    again = till.call("PUT", url)
    assert again.content == first.content and again["Idempotent-Replayed"] == "true"
    assert till.redeem_entries == 1 and till.balance == 5600


def test_a_repeat_of_something_free(till):
    free = make_discount(till.account, points=0)
    url = till.url(free) + "/T1"
    first = till.call("PUT", url)
    till.give(5)
    assert till.call("PUT", url).content == first.content and first.json()["data"]["loyaltyPoints"] == 1000


def test_the_same_use_with_its_transaction_later(till, discount):
    url = till.url(discount)
    bare, named = till.data("PUT", url), till.data("PUT", url + "/INV-1")
    assert named["redemptionID"] == bare["redemptionID"]
    assert till.balance == 600
    assert Redemption.unscoped.get().transaction == "INV-1"


def test_a_new_wallet_is_a_new_use(till, discount):
    till.data("PUT", till.url(discount) + "/INV-1")
    till.data("PUT", till.url(discount) + "/INV-2")
    assert till.balance == 200


def test_refusals(till, discount):
    now = timezone.now()
    dear = make_discount(till.account, points=1001)
    once = make_discount(till.account, points=1, reusable=False)
    later = make_discount(till.account, points=1, starts_at=now + DAY)
    over = make_discount(till.account, points=1, ends_at=now - DAY)
    archived = make_discount(till.account, points=1)
    urls = {d.pk: till.url(d) for d in (discount, dear, once, later, over, archived)}
    assert till.refused(400, "PUT", urls[dear.pk] + "/T1") == "1001 points are needed, 1000 are there."
    till.data("PUT", urls[once.pk] + "/T2")
    assert till.refused(400, "PUT", till.url(once) + "/T3") == "This discount has been used; it can be used once."
    assert till.refused(400, "PUT", urls[later.pk] + "/T4") == "This discount has not started."
    assert till.refused(400, "PUT", urls[over.pk] + "/T5") == "This discount has ended."
    type(archived).unscoped.filter(pk=archived.pk).update(archived_at=now)
    assert till.refused(400, "PUT", urls[archived.pk] + "/T6") == "This discount is no longer offered."
    assert "another discount" in till.refused(400, "PUT", urls[discount.pk] + "/T2")
    Programme.unscoped.update(enabled=False)
    assert till.refused(400, "PUT", urls[discount.pk] + "/T7") == "The loyalty programme is switched off."
    assert till.balance == 999


def test_after_giving_back_the_address_is_spent(till, discount):
    url = till.url(discount) + "/T1"
    done = till.data("PUT", url)
    till.data("POST", f"/api/v2/redemptions/{done['redemptionID']}/revert")
    assert "given back" in till.refused(400, "PUT", url)
    assert till.data("PUT", till.url(discount) + "/T2")["loyaltyPoints"] == 600


def test_every_letter_of_a_token_counts(till, discount):
    head, token = till.url(discount).rsplit("/", 1)
    for i, letter in enumerate(token):
        for other in ("A", "B", "_", "="):
            if other != letter:
                tampered = token[:i] + other + token[i + 1 :]
                assert till.refused(404, "PUT", f"{head}/{tampered}/T1")
    for other in (token[:-1], token + "A", token + "=", token.lower(), "A" * 56, "a", token[::-1]):
        assert till.refused(404, "PUT", f"{head}/{other}/T1")
    assert till.balance == 1000 and till.redeem_entries == 0


def test_a_token_of_another_discount_account_or_key(till, discount):
    other_discount = make_discount(till.account, points=1)
    token = till.url(discount).rsplit("/", 1)[1]
    uid = till.account.uid
    assert till.refused(404, "PUT", f"/api/v1.1/discount/redeem/{uid}/{other_discount.number}/{token}")
    other = Till(points=None, account=make_account("Other Co"))
    assert till.refused(403, "PUT", f"/api/v1.1/discount/redeem/{other.account.uid}/{discount.number}/{token}")
    assert other.refused(403, "PUT", till.url(discount))
    theirs = make_discount(other.account, number=discount.number)
    assert other.refused(404, "PUT", f"/api/v1.1/discount/redeem/{other.account.uid}/{theirs.number}/{token}")
    assert till.balance == 1000


def test_a_token_names_its_persona(till, discount):
    make_persona(till.account, phone="+16045550188")
    mine = till.url(discount)
    theirs = till.data("GET", "/api/v2/wallet/6045550188")["discountTemplates"][0]["redemptionURL"]
    assert mine != theirs
    assert "points are needed, 0 are there" in till.refused(400, "PUT", theirs + "/T1")


def test_a_day_old_address(till, discount):
    now = timezone.now()
    link = links.Link(persona_id=till.persona.pk, discount_id=discount.pk, n=0)
    head = till.url(discount).rsplit("/", 1)[0]
    for seconds, code in ((-1, 400), (0, 400), (60, 200)):
        token = links.make(
            account_id=till.account.pk,
            discount_number=discount.number,
            link=link,
            expires_at=int(now.timestamp()) + seconds,
        )
        response = till.call("PUT", f"{head}/{token}/T1")
        assert response.status_code == code
        if code == 400:
            assert response.json()["errors"][0]["message"].startswith("This address is over 24 hours old")


def test_another_link_key_voids_all_addresses(till, discount, settings):
    url = till.url(discount)
    settings.LINK_KEY = "another"
    assert till.refused(404, "PUT", url)


def test_two_statements(till, discount, django_assert_max_num_queries):
    url = till.url(discount)
    with django_assert_max_num_queries(4) as seen:  # savepoint and release stand for BEGIN and COMMIT in a test
        till.data("PUT", url + "/T1")
    assert len([q for q in seen if not re.match(r"(RELEASE )?SAVEPOINT", q["sql"])]) == 2


def test_the_address_is_what_the_wallet_said(till, discount):
    parts = urlsplit(till.url(discount)).path.split("/")
    assert parts[:5] == ["", "api", "v1.1", "discount", "redeem"]
    assert parts[5:7] == [till.account.uid, str(discount.number)]
    assert re.fullmatch(r"[A-Za-z0-9_-]{56}", parts[7])


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    @pytest.mark.parametrize("transaction", ["/T1", ""])
    def test_fifty_times_the_same(self, transaction):
        till = Till()
        url = till.url(make_discount(till.account, points=400)) + transaction
        answers = at_once([lambda: till.call("PUT", url)] * 50)
        assert {a.status_code for a in answers} == {200}
        assert len({a.content for a in answers}) == 1
        assert sum("Idempotent-Replayed" not in a for a in answers) == 1
        assert till.balance == 600 and till.redeem_entries == 1

    def test_two_tills_cannot_spend_the_same_points(self):
        till = Till()
        url = till.url(make_discount(till.account, points=400))
        answers = at_once([lambda i=i: till.call("PUT", f"{url}/T{i}") for i in range(20)])
        assert sorted(a.status_code for a in answers) == [200] * 2 + [400] * 18
        assert till.balance == 200 and till.redeem_entries == 2


class TestCodes:
    def test_the_answer_and_the_wallet_carry_it(self, till):
        unique = make_discount(till.account, points=100, code_kind="unique")
        CouponCode.unscoped.create(account=till.account, discount=unique, code="LEAF-7")
        static = make_discount(till.account, points=100, code_kind="static", static_code="TEN")
        url = till.url(unique)
        assert [till.data("PUT", url + "/T1")["code"] for _ in range(2)] == ["LEAF-7", "LEAF-7"]
        assert till.data("PUT", till.url(static) + "/T2")["code"] == "TEN"
        assert [one["code"] for one in till.wallet()["openRedemptions"]] == ["LEAF-7", "TEN"]
        assert till.refused(400, "PUT", url + "/T3") == "All coupon codes of this discount are used."

    def test_settled_again_a_repeat_still_answers_the_same_bytes(self, till, discount):
        url = till.url(discount) + "/T1"
        first = till.call("PUT", url)
        row = Redemption.unscoped.get()
        ledger.revert(account_id=till.account.pk, redemption_public_id=row.public_id, now=timezone.now(),
                      to_state="released", why="no_sale")  # fmt: skip
        till.give(77)
        [sale] = make_sales(till.account, 1)
        assert ledger.settle_again(account_id=till.account.pk, redemption_id=row.pk, sale_id=sale, now=timezone.now())
        assert till.call("PUT", url).content == first.content


@pytest.mark.parametrize("fields, said", [
    ({"hide_redeem": True}, "This discount is redeemed by staff in the store."),
    ({"limited_audiences": True}, "This discount is not for this shopper."),
    ({"archived_at": timezone.now()}, "This discount is no longer offered."),
])  # fmt: skip
def test_a_refusal_is_a_sentence(till, fields, said):
    discount = make_discount(till.account, points=100)
    url = till.url(discount)
    Discount.unscoped.filter(pk=discount.pk).update(**fields)
    assert till.refused(400, "PUT", url) == said and till.balance == 1000
