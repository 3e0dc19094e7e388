"""Picture files for tests: good, strange and hostile ones."""

import io
import struct
import zlib

from PIL import Image
from PIL.PngImagePlugin import PngInfo


def file_of(form: str = "PNG", size=(400, 300), colour="#2c9c76", mode: str = "RGB", **options) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, form, **options)
    return out.getvalue()


def halves(form: str = "PNG", size=(400, 200), **options) -> bytes:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, "#ff0000")
    image.paste("#0000ff", (size[0] // 2, 0, *size))
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def chatty() -> bytes:
    """A PNG that says who made it, and bears a script behind its end."""
    told = PngInfo()
    told.add_text("Author", "Mara Secret")
    return file_of(pnginfo=told) + b"<script>alert(1)</script>"


def located() -> bytes:
    """A JPEG that says where a phone was, and lies on its side."""
    exif = Image.Exif()
    exif[0x010F] = "SecretPhone"
    exif[0x0112] = 6  # to be turned by a quarter
    exif.get_ifd(0x8825)[2] = (49.0, 15.0, 0.0)
    return halves("JPEG", size=(400, 200), exif=exif.tobytes(), quality=95)


def bomb(side: int) -> bytes:
    """A PNG of side x side pixels in a few kilobytes, its header and sums all right."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)  # one bit a pixel
    packer, packed = zlib.compressobj(9), b""
    for _ in range(side):
        packed += packer.compress(b"\0" * (1 + side // 8))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed + packer.flush()) + chunk(b"IEND", b"")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
# What is said of a file, and the file.
BAD = {
    "svg": (SVG, "no picture that can be read"),
    "html": (b"<html><script>alert(1)</script>", "no picture that can be read"),
    "text": (b"hello", "no picture that can be read"),
    "gif": (file_of("GIF"), "no picture that can be read"),
    "bmp": (file_of("BMP"), "no picture that can be read"),
    "truncated png": (halves(size=(300, 300))[:120], "no picture that can be read"),
    "truncated jpeg": (located()[:900], "no picture that can be read"),
    "truncated webp": (halves("WEBP")[:60], "no picture that can be read"),
    "head alone": (b"\x89PNG\r\n\x1a\n", "no picture that can be read"),
    "forged sums": (file_of()[:40] + b"\xff\xff\xff\xff" + file_of()[44:], "no picture that can be read"),
    "bomb": (bomb(10_000), "10,000 × 10,000 pixels"),
    "larger bomb": (bomb(16_000), "too many pixels"),
    "too large": (b"\x89PNG\r\n\x1a\n" + b"\0" * (800 * 1024), "over 800 kB"),
}
