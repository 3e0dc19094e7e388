"""Pictures of discounts: what is kept of a file, what is refused, and whose address it gets."""

import io

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from PIL import Image, ImageCms

from loyalty import pictures
from loyalty.models import DiscountImage
from tests.factories import make_account, make_discount

from . import images

NOW = timezone.now()


def read(raw: bytes, kind: str = "logo") -> tuple[pictures.Picture, Image.Image]:
    kept = pictures.read(io.BytesIO(raw), kind=kind)
    image = Image.open(io.BytesIO(kept.data))
    image.load()
    assert image.size == (kept.width, kept.height)
    assert f"image/{image.format.lower()}" == kept.content_type
    return kept, image


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kind", ["logo", "cover"])
def test_the_three_forms_are_taken(form, kind):
    assert read(images.halves(form), kind)[0].content_type == "image/jpeg"


def test_a_logo_is_the_middle_as_a_square():
    kept, image = read(images.halves(size=(900, 300)))
    assert (kept.width, kept.height) == (300, 300)
    left, right = image.getpixel((20, 150)), image.getpixel((280, 150))
    assert left[0] > 200 > 60 > left[2] and right[2] > 200 > 60 > right[0]


def test_nothing_is_kept_larger_than_it_is_shown():
    assert read(images.file_of(size=(2000, 2000)))[1].size == (512, 512)
    assert read(images.file_of(size=(3200, 1000)), "cover")[1].size == (1600, 500)
    assert read(images.file_of(size=(30, 20)))[1].size == (20, 20)


@pytest.mark.parametrize("raw, word", [(images.chatty(), b"Secret"), (images.located(), b"SecretPhone")])
def test_what_a_file_tells_beside_its_picture_is_gone(raw, word):
    assert word in raw
    kept, image = read(raw)
    assert word not in kept.data and b"script" not in kept.data and not image.getexif() and not image.info.get("exif")


def test_a_picture_on_its_side_is_set_upright():
    _, image = read(images.located(), "cover")
    assert image.size == (200, 400)
    assert image.getpixel((100, 20))[0] > 200 and image.getpixel((100, 380))[2] > 200


@pytest.mark.parametrize("mode, colour, see_through", [
    ("RGBA", (255, 0, 0, 0), True), ("LA", (9, 0), True), ("P", 3, False), ("1", 1, False), ("L", 120, False),
    ("I;16", 40_000, False),
])  # fmt: skip
def test_every_way_of_writing_colours(mode, colour, see_through):
    raw = images.file_of(mode=mode, colour=colour)
    assert read(raw)[0].content_type == ("image/png" if see_through else "image/jpeg")
    # A cover is never see-through: as a PNG a photograph would be several megabytes.
    assert read(raw, "cover")[0].content_type == "image/jpeg"


def test_print_colours_and_profiles_become_the_screens():
    assert read(images.file_of("JPEG", mode="CMYK", colour=(0, 0, 0, 0)))[1].getpixel((9, 9)) > (240, 240, 240)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (profile, b"broken"):
        kept, image = read(images.file_of("JPEG", icc_profile=icc))
        assert "icc_profile" not in image.info


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", images.BAD)
@pytest.mark.parametrize("kind", ["logo", "cover"])
def test_what_cannot_be_taken_is_said(name, kind):
    raw, said = images.BAD[name]
    with pytest.raises(pictures.NotAPicture, match=said) as caught:
        pictures.read(io.BytesIO(raw), kind=kind)
    assert str(caught.value).endswith(".")


def test_the_limit_of_size_is_a_byte():
    """The control of "too large": a file of exactly 800 kB is read, and fails only as what it is."""
    good = images.file_of()
    padded = good + b"\0" * (pictures.MOST_BYTES - len(good))
    assert read(padded)[0].width == 300
    with pytest.raises(pictures.NotAPicture, match="over 800 kB"):
        read(padded + b"\0")


@pytest.mark.django_db
class TestKept:
    @pytest.fixture
    def discount(self):
        return make_discount(make_account())

    @pytest.fixture
    def picture(self):
        return pictures.read(io.BytesIO(images.file_of()), kind="logo")

    def test_one_of_each_kind_and_another_takes_its_place(self, discount, picture):
        other = pictures.read(io.BytesIO(images.file_of(colour="#ff0000")), kind="logo")
        first = pictures.put(discount=discount, kind="logo", picture=picture, now=NOW)
        cover = pictures.put(discount=discount, kind="cover", picture=picture, now=NOW)
        second = pictures.put(discount=discount, kind="logo", picture=other, now=NOW)
        assert len({first, cover, second}) == 3 and pictures.find(first) is None
        assert pictures.digests(discount=discount) == {"logo": second, "cover": cover}
        assert bytes(pictures.find(second).data) == other.data
        assert pictures.put(discount=discount, kind="logo", picture=other, now=NOW) == second, "the same address again"
        assert pictures.remove(discount=discount, kind="logo") and not pictures.remove(discount=discount, kind="logo")
        assert pictures.find(second) is None and pictures.find(cover)

    def test_one_file_of_two_accounts_has_two_addresses_and_none_is_made_from_the_file(
        self, discount, picture, settings
    ):
        theirs = make_discount(make_account("Other"))
        ours = pictures.put(discount=discount, kind="logo", picture=picture, now=NOW)
        assert pictures.put(discount=theirs, kind="logo", picture=picture, now=NOW) != ours
        settings.LINK_KEY = "another installation"
        assert pictures.put(discount=discount, kind="logo", picture=picture, now=NOW) != ours

    def test_a_copy_has_addresses_of_its_own(self, discount, picture):
        pictures.put(discount=discount, kind="logo", picture=picture, now=NOW)
        target = make_discount(discount.account)
        pictures.copy(source=discount, target=target, now=NOW)
        (one,) = pictures.digests(discount=discount).values()
        (other,) = pictures.digests(discount=target).values()
        assert one != other and bytes(pictures.find(other).data) == picture.data

    def test_the_database_refuses_a_second_of_a_kind_and_any_other_type(self, discount):
        def add(**fields):
            values = {"account": discount.account, "discount": discount, "data": b"x", "kind": "logo"}
            with transaction.atomic():
                DiscountImage.unscoped.create(**values | {"content_type": "image/png"} | fields)

        add(digest="1" * 32)
        add(digest="2" * 32, kind="cover")  # the control: another kind is none
        for wrong in ({"digest": "3" * 32}, {"digest": "1" * 32, "discount": make_discount(discount.account)},
                      {"digest": "4" * 32, "discount": make_discount(discount.account), "content_type": "text/html"},
                      {"digest": "5" * 32, "discount": make_discount(make_account("Other"))}):  # fmt: skip
            with pytest.raises(IntegrityError):
                add(**wrong)
