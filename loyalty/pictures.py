"""Pictures of discounts: what is uploaded is decoded, cut, and written anew; only that is kept and shown.

Writing anew takes out whatever a file carries beside its picture: where a phone was, who drew it, a script at its end.
"""

import hmac
import io
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from django.conf import settings
from django.db import transaction
from django.templatetags.static import static
from django.urls import reverse
from PIL import Image, ImageCms, ImageOps

from .models import Discount, DiscountImage, ImageKind

MOST_BYTES = 800 * 1024  # AIQ's 800 kB
MOST_PIXELS = 16_000_000  # what a picture takes when it is decoded, whatever its file takes: 64 MB
READS = ("PNG", "JPEG", "WEBP")
LOGO_SIDE = 512
COVER_SIDE = 1600
_LIMIT = "; at most 16 million are taken, as 4,000 × 4,000."
NONE = "aiqsync/reward.png"


class NotAPicture(Exception):
    """What was uploaded cannot be taken; the message is a sentence for who uploaded it."""


@dataclass(frozen=True, slots=True)
class Picture:
    content_type: str
    data: bytes
    width: int
    height: int


def read(file: BinaryIO, *, kind: str) -> Picture:
    """The picture in a file as we keep it: a logo is cut to a square around its middle. Raises NotAPicture."""
    raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise NotAPicture("The picture is over 800 kB: save it smaller and choose it again.")
    try:
        return _read(raw, kind)
    except NotAPicture:
        raise
    except Image.DecompressionBombError:  # so large that Pillow does not even open it
        raise NotAPicture(f"The picture has far too many pixels{_LIMIT}") from None
    except Exception:  # a decoder raises whatever a broken or a forged file makes it stumble over
        raise NotAPicture("This is no picture that can be read: a PNG, JPEG or WebP file is.") from None


def _read(raw: bytes, kind: str) -> Picture:
    with Image.open(io.BytesIO(raw), formats=READS) as opened:
        # Its header alone has been read so far.
        width, height = opened.size
        if width * height > MOST_PIXELS:
            raise NotAPicture(f"The picture is {width:,} × {height:,} pixels{_LIMIT}")
        profile = opened.info.get("icc_profile")
        opened.load()
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16 bits of grey
            image = image.convert("I").point(lambda value: value / 256).convert("L")
        see_through = image.has_transparency_data
        image = _in_srgb(image, profile).convert("RGBA" if see_through else "RGB")
    if kind == ImageKind.LOGO:
        side = min(*image.size, LOGO_SIDE)
        image = ImageOps.fit(image, (side, side))
    else:
        image.thumbnail((COVER_SIDE, COVER_SIDE))
    if see_through and kind == ImageKind.COVER:
        image = _on_white(image)  # a see-through photograph would be several megabytes
    out = io.BytesIO()
    if image.mode == "RGBA":
        image.save(out, "PNG", optimize=True)
        return Picture("image/png", out.getvalue(), *image.size)
    image.save(out, "JPEG", quality=86, optimize=True, progressive=True)
    return Picture("image/jpeg", out.getvalue(), *image.size)


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The profile is not kept, so the colours are brought to where every screen looks for them."""
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return image
    try:
        from_profile = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, from_profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image  # a broken profile: the colours as they are


def _on_white(image: Image.Image) -> Image.Image:
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    return ground


@transaction.atomic
def put(*, discount: Discount, kind: str, picture: Picture, now: datetime) -> str:
    """The discount's picture of this kind, instead of the one there was. Answers its digest."""
    digest = _digest(discount, kind, picture.data)
    DiscountImage.unscoped.update_or_create(
        account_id=discount.account_id, discount=discount, kind=kind,
        defaults={
            "content_type": picture.content_type, "data": picture.data, "width": picture.width,
            "height": picture.height, "digest": digest, "created_at": now,
        },
    )  # fmt: skip
    return digest


def remove(*, discount: Discount, kind: str) -> bool:
    """False: there was none."""
    gone, _ = DiscountImage.unscoped.filter(account_id=discount.account_id, discount=discount, kind=kind).delete()
    return bool(gone)


@transaction.atomic
def copy(*, source: Discount, target: Discount, now: datetime) -> None:
    """The pictures of one discount for another of its account, each at an address of its own."""
    assert source.account_id == target.account_id
    for one in DiscountImage.unscoped.filter(account_id=source.account_id, discount=source):
        picture = Picture(one.content_type, bytes(one.data), one.width, one.height)
        put(discount=target, kind=one.kind, picture=picture, now=now)


def find(digest: str) -> DiscountImage | None:
    """The picture at an address, whoever's it is: the address is what a shopper's wallet shows to anybody."""
    return DiscountImage.unscoped.filter(digest=digest).first()


def digests(*, discount: Discount) -> dict[str, str]:
    """Kind to digest, for those there are."""
    found = DiscountImage.unscoped.filter(account_id=discount.account_id, discount=discount)
    return dict(found.values_list("kind", "digest"))


def address(digest: str) -> str:
    """The path of a picture; without a digest that of the default."""
    return reverse("discount-image", args=[digest]) if digest else static(NONE)


def _digest(discount: Discount, kind: str, data: bytes) -> str:
    """Two accounts that upload one file get two addresses, and none can be made from the other or from the file."""
    whose = f"discount picture {discount.account_id} {discount.pk} {kind} ".encode()
    return hmac.digest(settings.LINK_KEY.encode(), whose + data, "sha256").hex()[:32]
