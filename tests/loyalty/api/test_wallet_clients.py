"""What real clients send, in their order and spelling (reference: section 4): a storefront, a web shop, a till."""

import pytest

from aiqsync.accounts.models import AuditLine
from loyalty.models import Message
from tests.factories import make_discount

from .test_wallet_by_pin import code_of, set_master, wrong_for
from .till import PHONE, Till, sentence

EMAIL = "ada@example.test"


@pytest.fixture
def storefront(till):
    """C-WALLET: digits only, a leading 1 dropped, e-mails in lower case; it reads `success`, `data` and the status."""
    make_discount(till.account, points=400, name="$4 off")
    make_discount(till.account, points=4000, name="Much")

    def post(path: str, **body):
        answer = till.call("POST", f"/api/v2{path}", body, content_type="application/json")
        return answer.status_code, answer.json()

    return post


class TestStorefront:
    @pytest.mark.parametrize("who", [{"phone": "6045550142"}, {"email": EMAIL}])
    def test_verify_then_view(self, till, storefront, who):
        status, told = storefront("/verify/contact/wallet", **who)
        assert status == 200 and told["success"] is True
        status, told = storefront("/view/contact/wallet", **who, code=code_of(till.persona))
        assert (status, told["code"], told["success"]) == (200, 200, True)
        data = told["data"]
        assert (data["loyaltyPoints"], data["hidePointsInWallet"]) == (1000, False)
        assert data["contactID"] == str(till.persona.contact_id)
        read = [tuple(one[name] for name in ("name", "pointsDeduction", "available", "expiration"))
                for one in data["discountTemplates"]]  # fmt: skip
        assert read == [("$4 off", 400, True, 0), ("Much", 4000, False, 0)]
        assert all(isinstance(one["id"], str) for one in data["discountTemplates"])

    def test_nobody_is_told_by_400_or_404(self, storefront):
        status, told = storefront("/verify/contact/wallet", phone="6045550100")
        assert status in (400, 404) and told["success"] is False and told["errors"][0]["message"]

    def test_a_wrong_code_is_any_4xx(self, till, storefront):
        storefront("/verify/contact/wallet", phone="6045550142")
        code = code_of(till.persona)
        status, told = storefront("/view/contact/wallet", phone="6045550142", code=wrong_for(code))
        assert 400 <= status < 500 and told["success"] is False
        status, _ = storefront("/view/contact/wallet", phone="6045550142", code=code)
        assert status == 200

    def test_then_the_passes(self, till):
        told = till.data("GET", f"/api/v2/walletPassDownloadLinks/{till.persona.contact_id}")
        assert not told["apple"] and not told["google"]  # it shows no button then


class TestWebShop:
    """ECOM: sign up, verify, view; the order is placed; then the PUT without a transaction."""

    def test_welcome_gift_of_a_new_member(self, till):
        gift = make_discount(till.account, points=0, name="Welcome", reusable=False)
        joined = till.data("POST", "/api/v2/loyalty", {"mobilePhone": "604-555-0199", "loyalty": True})
        assert till.data("POST", "/api/v2/verify/wallet", {"phone": "6045550199"})["sent"] is True
        body = Message.unscoped.get(address="+16045550199").body
        code = next(word for word in body.split() if word.isdigit() and len(word) == 4)
        wallet = till.data("POST", "/api/v2/view/wallet", {"phone": "6045550199", "code": code})
        assert wallet["contactID"] == joined["contactID"]
        (shown,) = wallet["discountTemplates"]
        assert (shown["id"], shown["available"], shown["inStoreRedemption"]) == (str(gift.number), True, False)
        done = till.data("PUT", shown["redemptionURL"])  # JSON content type, no body
        assert done["pointsDeducted"] == 0 and done["transactionID"] is None
        assert sentence(till.call("POST", "/api/v2/view/wallet", {"phone": "6045550199", "code": code}), 400)

    def test_points_are_taken_after_the_order(self, till):
        make_discount(till.account, points=400)
        till.data("POST", "/api/v2/verify/wallet", {"phone": "6045550142"})
        wallet = till.data("POST", "/api/v2/view/wallet", {"phone": "6045550142", "code": code_of(till.persona)})
        (shown,) = wallet["discountTemplates"]
        assert till.balance == 1000
        assert till.data("PUT", shown["redemptionURL"])["loyaltyPoints"] == 600 == till.balance


class TestTill:
    """DUTCHIE: the budtender asks for the PIN, types four digits or the master PIN; "Bypass 2FA" skips both."""

    def test_pin(self, till):
        make_discount(till.account, points=400)
        till.data("POST", "/api/v2/verify/wallet", {"phone": "6045550142"})
        code = code_of(till.persona)
        assert len(code) == 4
        wallet = till.data("POST", "/api/v2/view/wallet", {"phone": "6045550142", "code": code})
        done = till.data("PUT", wallet["discountTemplates"][0]["redemptionURL"] + "/88-1204")
        assert (done["pointsDeducted"], done["loyaltyPoints"], done["transactionID"]) == (400, 600, "88-1204")

    def test_master_pin_without_a_phone_at_hand(self, till):
        set_master(till)
        assert till.data("POST", "/api/v2/verify/wallet", {"phone": "6045550142"})["sent"] is True
        wallet = till.data("POST", "/api/v2/view/wallet", {"phone": "6045550142", "code": "24681357"})
        assert wallet["loyaltyPoints"] == 1000
        assert AuditLine.unscoped.get(act="pin.entered").detail["shown"] == "master"

    def test_bypass(self, till):
        make_discount(till.account, points=400)
        wallet = till.data("POST", "/api/v2/wallet", {"phone": "6045550142", "email": ""})
        assert till.data("PUT", wallet["discountTemplates"][0]["redemptionURL"] + "/88-1205")["loyaltyPoints"] == 600

    @pytest.mark.parametrize("phone", ["16045550142", "+16045550142", "(604) 555-0142", 6045550142])
    def test_phones_as_they_come(self, till, phone):
        told = till.data("POST", "/api/v2/verify/wallet/", {"phone": phone, "uid": till.account.uid})
        assert told["to"] == "…0142" and Message.unscoped.get().address == PHONE
        assert till.data("POST", "/api/v2/view/wallet/", {"phone": phone, "code": code_of(till.persona)})


def test_the_code_is_the_shoppers_not_the_keys(till):
    """Another key of the same account may enter what was sent."""
    other = Till(account=till.account, points=None)
    till.data("POST", "/api/v2/verify/wallet", {"phone": PHONE})
    code = code_of(till.persona)
    assert other.data("POST", "/api/v2/view/wallet", {"phone": PHONE, "code": code})["loyaltyPoints"] == 1000
