"""Pictures of discounts, from the builder to the wallet, and the one address that is open to anybody."""

import re
from urllib.parse import urlsplit

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from aiqsync.accounts.models import Account, AuditLine
from aiqsync.accounts.roles import Role
from loyalty import ledger, pictures
from loyalty.models import Discount, DiscountImage
from tests.factories import make_account, make_discount, make_user
from tests.loyalty import images
from tests.loyalty.api.till import Till

pytestmark = pytest.mark.django_db
ADD = "/admin/loyalty/discount/add/"
GIVEN = {"internal_name": "Ten", "name": "$10 off", "kind": "flat", "amount": "10", "points": "100"}


@pytest.fixture
def account(client):
    account = make_account()
    client.force_login(make_user(account))
    return account


def upload(raw: bytes, name="picture.png", content_type="image/png"):
    return SimpleUploadedFile(name, raw, content_type)


def change(discount) -> str:
    return reverse("admin:loyalty_discount_change", args=[discount.pk])


def with_logo(client) -> Discount:
    assert client.post(ADD, GIVEN | {"logo": upload(images.halves())}).status_code == 302
    return Discount.unscoped.latest("pk")


def test_uploaded_shown_replaced_and_removed(client, account):
    both = {"logo": upload(images.chatty()), "cover": upload(images.halves("JPEG"), "a.jpg", "image/jpeg")}
    assert client.post(ADD, GIVEN | both).status_code == 302
    one = Discount.unscoped.latest("pk")
    first = pictures.digests(discount=one)
    assert set(first) == {"logo", "cover"}
    page = client.get(change(one)).content.decode()
    assert 'enctype="multipart/form-data"' in page
    for digest in first.values():
        assert page.count(f'src="/discount/image/{digest}"') == 2, "in the preview and beside the field"

    assert client.post(change(one), GIVEN).status_code == 302
    assert pictures.digests(discount=one) == first, "nothing was chosen: all stays"
    assert client.post(change(one), GIVEN | {"logo": upload(images.file_of(colour="#123456"))}).status_code == 302
    second = pictures.digests(discount=one)
    assert second["logo"] != first["logo"] and second["cover"] == first["cover"]
    assert client.post(change(one), GIVEN | {"logo-clear": "on", "cover-clear": "on"}).status_code == 302
    assert not DiscountImage.unscoped.exists()
    assert "aiqsync/reward.png" in client.get(change(one)).content.decode(), "the default"
    log = [line.detail for line in AuditLine.unscoped.filter(act="discount.changed").order_by("pk")]
    assert log[1]["logo"] == "another" and log[2]["cover"] == "removed"


@pytest.mark.parametrize("name", images.BAD)
@pytest.mark.parametrize("content_type", ["image/png", "image/svg+xml", ""])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_are_refused_with_a_sentence(client, account, name, content_type):
    raw, said = images.BAD[name]
    answer = client.post(ADD, GIVEN | {"logo": upload(raw, "a.png", content_type)})
    assert answer.status_code == 200 and said in answer.content.decode()
    assert not Discount.unscoped.exists() and not DiscountImage.unscoped.exists()


def test_a_bad_file_leaves_the_picture_there_is(client, account):
    one = with_logo(client)
    before = pictures.digests(discount=one)
    both = {"logo": upload(images.file_of()), "logo-clear": "on"}
    for given in ({"logo": upload(images.SVG)}, {"logo": upload(b"")}, both, {"logo": "text", "cover-clear": "on"}):
        client.post(change(one), GIVEN | given)
        assert pictures.digests(discount=one) == before


@pytest.mark.parametrize("role, may", [
    (Role.OWNER, True), (Role.OPERATOR, True), (Role.MARKETING, True),
    (Role.MANAGER, False), (Role.ANALYST, False), (Role.FINANCE, False), (Role.STAFF, False),
])  # fmt: skip
def test_who_may_put_a_picture(client, account, role, may):
    one = with_logo(client)
    before = pictures.digests(discount=one)
    client.force_login(make_user(account, role))
    page = client.get(change(one))
    assert page.status_code == (403 if role == Role.STAFF else 200)
    assert (b'type="file"' in page.content) is may
    answer = client.post(change(one), GIVEN | {"logo": upload(images.file_of(colour="#ff0000"))})
    assert answer.status_code == (302 if may else 403)
    assert (pictures.digests(discount=one) != before) is may


class TestItsAddress:
    @pytest.fixture
    def address(self, client, account) -> str:
        return pictures.address(pictures.digests(discount=with_logo(client))["logo"])

    def test_anybody_sees_it_for_ever(self, address):
        answer = Client().get(address, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200 and answer.content[:3] == b"\xff\xd8\xff"
        assert answer["Content-Type"] == "image/jpeg" and answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert answer["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert not answer.cookies and "Cookie" not in answer.get("Vary", "") and "Content-Encoding" not in answer
        etag = answer["ETag"]
        assert etag == f'"{address.rsplit("/", 1)[1]}"'
        assert Client().head(address).status_code == 200 and not Client().head(address).content
        for sent in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            again = Client().get(address, headers={"If-None-Match": sent})
            assert again.status_code == 304 and not again.content and again["ETag"] == etag
        assert Client().get(address, headers={"If-None-Match": '"x"'}).status_code == 200

    def test_one_query(self, address, django_assert_num_queries):
        with django_assert_num_queries(1):
            Client().get(address)

    def test_no_other_address_leads_anywhere(self, account, address):
        pk = DiscountImage.unscoped.get().pk
        head, digest = address.rsplit("/", 1)
        wrong = [digest[:-1], digest + "0", digest[:-1] + ("0" if digest[-1] != "0" else "1"), digest.upper() + "A",
                 str(pk), "0" * 32, "", "../admin/", digest + "%00", digest + "%0a"]  # fmt: skip
        for name in wrong:
            answer = Client().get(f"{head}/{name}")
            assert answer.status_code == 404 and b"\xff\xd8" not in answer.content, name
        for method in ("post", "put", "delete", "patch"):
            assert getattr(Client(), method)(address).status_code == 405
        DiscountImage.unscoped.all().delete()
        assert Client().get(address, headers={"If-None-Match": f'"{digest}"'}).status_code == 404, "removed is removed"

    def test_a_stranger_learns_nothing_but_the_picture(self, account, address):
        """Another account's owner has the address, as every shopper may: he gets the picture, and no word beside it."""
        Account.objects.filter(pk=account.pk).update(uid="uid-of-ours")  # four digits stand in a digest now and then
        stranger = Client()
        stranger.force_login(make_user(make_account("Other")))
        answer = stranger.get(address)
        told = str(sorted(answer.headers.items()))
        assert answer.status_code == 200
        assert "uid-of-ours" not in told and account.name not in told and "Ten" not in told
        # His own pages never show it, and another's discount is not there for him.
        assert stranger.get(change(Discount.unscoped.get())).status_code == 302


def test_the_wallet_carries_the_addresses(client, settings):
    settings.PUBLIC_URL = ""
    till = Till()
    client.force_login(make_user(till.account))
    plain = make_discount(till.account, points=50)
    both = {"logo": upload(images.halves()), "cover": upload(images.halves())}
    client.post(ADD, GIVEN | both | {"rank": "1"})
    one, other = till.wallet()["discountTemplates"]
    for told in (one["avatar"], one["cover"]):
        assert re.fullmatch(r"http://testserver/discount/image/[0-9a-f]{32}", told)
        assert Client().get(urlsplit(told).path).status_code == 200
    assert one["avatar"] != one["cover"]
    assert (other["id"], other["cover"]) == (str(plain.number), None)
    assert other["avatar"] == "http://testserver/static/aiqsync/reward.png"
    assert Client().get("/static/aiqsync/reward.png")["Content-Type"] == "image/png"


def test_the_shoppers_page_shows_it(client):
    till = Till()
    client.force_login(make_user(till.account))
    one = with_logo(client)
    page = client.get(reverse("admin:persona", args=[till.persona.contact_id])).content.decode()
    assert pictures.address(pictures.digests(discount=one)["logo"]) in page
    assert ledger.spendable_points(till.account.pk, till.persona.pk, one.created_at) == 1000
