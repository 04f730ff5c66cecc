"""Pictures as files: every way to write one losslessly, every way to damage one, and what is none."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from xai.base.wording import one_line
from xai.tests.fuzz.material import METHODS, QUESTION, Material, encoded, numbers_of, sane
from xai.tests.fuzz.mutate import damaged, flip, png_chunk, png_chunks
from xai.tests.fuzz.oracle import Call, Case, Command, Expect

LOSSLESS: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("PNG", {"compress_level": level}) for level in (0, 1, 9)),
    ("BMP", {}),
    ("WEBP", {"lossless": True}),
    ("JPEG2000", {}),
    ("JPEG2000", {"no_jp2": True}),
    *(("TIFF", {"compression": name}) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma")),
    ("TIFF", {"compression": "tiff_lzw", "tiffinfo": {317: 2}}),  # with a predictor
    ("TIFF", {"big_tiff": True}),
)
"""Formats that the tool reads by any name, with options."""
UNLISTED = ("TGA", "PCX", "SGI", "PPM", "ICO", "DDS", "IM", "QOI", "DIB", "ICNS")
"""What Pillow reads beside them: refused, or right."""
LOSSY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("JPEG", {}),
    ("JPEG", {"progressive": True, "quality": 50}),
    ("JPEG", {"subsampling": 2, "optimize": True}),
    ("WEBP", {"quality": 40}),
    ("AVIF", {}),
    ("AVIF", {"quality": 20, "speed": 10}),
    ("JPEG2000", {"irreversible": True, "quality_layers": [20]}),
    ("TIFF", {"compression": "jpeg"}),
    ("MPO", {}),
)
NAMES = (
    "a.png",
    "a.jpg",
    "a.jpeg",
    "a.PNG",
    "a.webp",
    "a.tif",
    "a.avif",
    "a.jp2",
    "a.gif",
    "a.bmp",
    "a.txt",
    "a",
    "ä 颜.png",
    "a\nb.png",
    "-.png",
)
MAGIC = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"RIFF\x40\0\0\0WEBPVP8 ", b"\0\0\0 ftypavif", b"8BPS",
    b"\0\0\0\x0cjP  \r\n\x87\n", b"\xffO\xffQ", b"P6\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"%PDF-1.7\n", b"PK\x03\x04",
    b"\x1f\x8b", b"icns", b"\0\0\1\0", b"qoif", b"DDS ", b"SIMPLE  =", b"\0\0\1\xb3", b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"#!/bin/sh\n",
)  # fmt: skip
BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip
"""EXIF orientation -> what undoes it."""


class Images:
    """The fuzzer of image files."""

    name = "images"

    def __init__(self, material: Material) -> None:
        self.material = material
        kinds = (self.lossless, self.lossy, self.unlisted, self.oriented, self.modes, self.animated, self.remarked, self.flipped,
        self.flipped,
                 self.repaired, self.cut, self.garbage, self.bomb, self.size, self.no_file)  # fmt: skip
        self.kinds: tuple[Callable[[random.Random, Path], Case], ...] = kinds

    def case(self, rng: random.Random, folder: Path) -> Case:
        return rng.choice(self.kinds)(rng, folder)

    def lossless(self, rng: random.Random, folder: Path) -> Case:
        form, options = rng.choice(LOSSLESS)
        return self.file(rng, folder, encoded(self.material.picture, form, **options), f"{form} · {options}", Expect.SAME)

    def lossy(self, rng: random.Random, folder: Path) -> Case:
        form, options = rng.choice(LOSSY)
        raw = encoded(self.material.picture, form, **options)
        with Image.open(io.BytesIO(raw)) as image:
            expected = self.material.explain(image.convert("RGB"))
        return self.file(rng, folder, raw, f"{form} · {options}", Expect.SAME, expected)

    def unlisted(self, rng: random.Random, folder: Path) -> Case:
        form = rng.choice(UNLISTED)
        raw = encoded(self.material.picture, form, **({"sizes": [self.material.picture.size]} if form == "ICO" else {}))
        expected = self.material.numbers if form not in ("ICNS", "DDS") else None
        return self.file(rng, folder, raw, f"unlisted format {form} · ", Expect.FAITHFUL if expected else Expect.EITHER, expected)

    def oriented(self, rng: random.Random, folder: Path) -> Case:
        orientation = rng.choice(list(BACK))
        form, options = rng.choice((("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})))
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(orientation, BACK[orientation])
        turned = self.material.picture.transpose(back)
        return self.file(rng, folder, encoded(turned, form, exif=exif, **options), f"{form}, turned · {orientation}", Expect.SAME)

    def modes(self, rng: random.Random, folder: Path) -> Case:
        """The same colours or greys in another mode."""
        picture, grey = self.material.picture, self.material.grey
        wide = Image.frombytes("I;16", grey.size, b"".join(struct.pack("<H", v * 257) for v in grey.tobytes()))
        one = grey.point(lambda v: 255 * (v > 100)).convert("1")
        grey_numbers = self.material.grey_numbers
        made: dict[str, tuple[Image.Image, Any, str]] = {
            "RGBA": (picture.convert("RGBA"), None, "PNG"),
            "palette": (picture.quantize(64, dither=Image.Dither.NONE), None, rng.choice(("PNG", "GIF", "BMP", "TIFF"))),
            "grey": (grey, grey_numbers, rng.choice(("PNG", "TIFF", "BMP", "JPEG2000"))),
            "grey and alpha": (grey.convert("LA"), grey_numbers, "PNG"),
            "grey of 16 bits": (wide, grey_numbers, rng.choice(("PNG", "TIFF"))),
            "one bit": (one, self.material.explain(one.convert("RGB")), rng.choice(("PNG", "TIFF", "BMP"))),
        }
        what = rng.choice(list(made))
        image, expected, form = made[what]
        return self.file(rng, folder, encoded(image, form), f"{what} as {form} · ", Expect.SAME, expected)

    def animated(self, rng: random.Random, folder: Path) -> Case:
        """The first frame of an animation is the picture."""
        form, options = rng.choice((("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("GIF", {})))
        black = Image.new("RGB", self.material.picture.size)
        raw = encoded(self.material.picture, form, save_all=True, append_images=[black] * rng.randrange(1, 4), **options)
        return self.file(rng, folder, raw, f"animated {form} · ", Expect.SAME)

    def remarked(self, rng: random.Random, folder: Path) -> Case:
        """Metadata, most of it broken, does not change a picture."""
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", "x" * rng.choice((0, 10, 100_000)), zip=rng.random() < 0.5)
        chosen: dict[str, Any] = rng.choice(
            ({"pnginfo": info}, {"exif": b"Exif\0\0" + rng.randbytes(60)}, {"exif": rng.randbytes(9)}, {"icc_profile": rng.randbytes(200)},
             {"dpi": (1, 10**6)})
        )  # fmt: skip
        form, options = ("PNG", {}) if "pnginfo" in chosen else rng.choice((("PNG", {}), ("WEBP", {"lossless": True})))
        what = f"{form} with odd {next(iter(chosen))} · "
        expect = Expect.FAITHFUL if "exif" in chosen else Expect.SAME
        return self.file(rng, folder, encoded(self.material.picture, form, **options, **chosen), what, expect)

    def encoded_anyhow(self, rng: random.Random) -> tuple[bytes, str]:
        form, options = rng.choice((*LOSSLESS, *LOSSY, ("GIF", {}), *((form, {}) for form in UNLISTED)))
        return encoded(self.material.picture, form, **options), form

    def flipped(self, rng: random.Random, folder: Path) -> Case:
        raw, form = self.encoded_anyhow(rng)
        raw, what = damaged(rng, raw)
        return self.file(rng, folder, raw, f"{form} · {what}", Expect.EITHER)

    def repaired(self, rng: random.Random, folder: Path) -> Case:
        """A PNG with a chunk altered, dropped, doubled or made up, its CRC being right."""
        chunks = png_chunks(encoded(self.material.picture, "PNG"))
        i = rng.randrange(len(chunks))
        kind, content = chunks[i]
        what = rng.choice(("flipped", "dropped", "doubled", "moved", "made up", "cut"))
        if what == "flipped":
            chunks[i] = kind, flip(rng, content)
        elif what == "cut":
            chunks[i] = kind, content[: rng.randrange(len(content) + 1)]
        elif what == "made up":
            made = rng.choice((b"iCCP", b"zTXt", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"gAMA", b"cHRM", b"sBIT", b"IDAT"))
            chunks.insert(i, (made, rng.randbytes(rng.choice((0, 1, 3, 26, 300)))))
        else:
            dropped = chunks.pop(i)
            chunks[i:i] = [dropped, dropped] if what == "doubled" else []
            if what == "moved":
                chunks.insert(rng.randrange(len(chunks) + 1), dropped)
        raw = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
        return self.file(rng, folder, raw, f"PNG, CRC right · chunk {i} {kind.decode('latin1')} {what}", Expect.EITHER)

    def cut(self, rng: random.Random, folder: Path) -> Case:
        raw, form = self.encoded_anyhow(rng)
        at = rng.randrange(len(raw))
        surely = at < 0.6 * len(raw)
        return self.file(rng, folder, raw[:at], f"{form} cut short · at {at} of {len(raw)}", Expect.REFUSED if surely else Expect.EITHER)

    def garbage(self, rng: random.Random, folder: Path) -> Case:
        magic = rng.choice((b"", *MAGIC))
        raw = magic + rng.choice((b"", rng.randbytes(rng.choice((1, 10, 100, 5000))), b"\0" * 1000, b"\xff" * 1000, b"text\n" * 99))
        return self.file(rng, folder, raw, f"garbage · after {magic[:12]!r}", Expect.REFUSED if magic != b"P6\n" else Expect.EITHER)

    def bomb(self, rng: random.Random, folder: Path) -> Case:
        """A few kilobytes that say they are gigabytes."""
        side = rng.choice((9_000, 30_000, 2**31 - 1))
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        rows = zlib.compress(b"\0" * 2_000_000)
        jpeg = bytearray(encoded(self.material.picture, "JPEG"))
        frame = jpeg.index(b"\xff\xc0") + 5
        jpeg[frame : frame + 4] = b"\xff\xff\xff\xff"
        gif = bytearray(encoded(self.material.picture, "GIF"))
        gif[6:10] = b"\xff\xff\xff\xff"
        bmp = bytearray(encoded(self.material.picture, "BMP"))
        bmp[18:26] = struct.pack("<ii", min(side, 60_000), 60_000)
        text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 30_000_000))
        jp2 = bytearray(encoded(self.material.picture, "JPEG2000", no_jp2=True))
        size = jp2.index(b"\xffQ") + 6
        jp2[size : size + 8] = struct.pack(">II", side, side)
        good = encoded(self.material.picture, "PNG")
        made = {
            "PNG": b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b""),
            "JPEG": bytes(jpeg),
            "GIF": bytes(gif),
            "BMP": bytes(bmp),
            "JPEG2000": bytes(jp2),
            "PPM": b"P6\n%d %d\n255\n" % (side, side) + b"\0" * 1000,
            "text of a PNG": good[:33] + text + good[33:],
            "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n%%EndComments\n",
        }
        what = rng.choice(list(made))
        return self.file(rng, folder, made[what], f"bomb: {what} · ", Expect.EITHER if "text" in what else Expect.REFUSED)

    def size(self, rng: random.Random, folder: Path) -> Case:
        size = rng.choice(((1, 1), (1, 2), (2, 1), (1, 3000), (3000, 1), (1, 60000), (7, 5), (97, 96), (96, 96), (4000, 3), (1500, 1500)))
        raw = encoded(self.material.picture.resize(size), rng.choice(("PNG", "BMP", "TIFF")))
        return self.file(rng, folder, raw, f"size · {size}", Expect.EITHER)

    def no_file(self, rng: random.Random, folder: Path) -> Case:
        """Names behind which no picture lies."""
        (folder / "folder").mkdir()
        (folder / "loop").symlink_to("loop")
        (folder / "nowhere").symlink_to("missing")
        name = rng.choice(("missing.png", "folder", "loop", "nowhere", "/dev/null", "/dev/zero", "/proc/self/mem", "x" * 300, "a/" * 3000,
        "", " ",
                           "~", "\n", "{name}", "%s", "\udcff.png", "C:\\a.png", "http://x/a.png", "/", ".", "folder/", "*.png",
                           "--.png"))  # fmt: skip
        return self.ask(rng, name, f"no image · {name!r:.30}", Expect.REFUSED, None)

    def file(self, rng: random.Random, folder: Path, raw: bytes, what: str, expect: Expect, expected: Any = None) -> Case:
        name = rng.choice(NAMES)
        (folder / name).write_bytes(raw)
        return self.ask(rng, name, f"{what}, called {name!r}", expect, expected or self.material.numbers, raw)

    def ask(self, rng: random.Random, name: str, what: str, expect: Expect, expected: Any, raw: bytes = b"") -> Case:
        """By the library, mostly; by the command, which is slower; beside another image; from standard input or a folder."""
        way = rng.choices(("library", "bytes", "command", "several", "input"), (80, 8, 6, 3, 3))[0]
        names = tuple(one_line(line) for line in name.split("\n") if line)
        if way == "library" or (not raw and way != "command"):
            call = Call(f"xai.load().explain({name!r:.80}, ...)", lambda: self.material.explain(name))
            return Case(what, expect, call, expected, names, sane=sane)
        if way == "bytes":
            return Case(
                f"{what}, as bytes", expect, Call(f"explain({name!r} as bytes)", lambda: self.material.explain(raw)), expected, sane=sane
            )
        command = ["explain", *(f"-m{method}" for method in METHODS), "--threads=1", "--json=-", "--"]
        if way == "input":
            return Case(
                f"{what}, from stdin", expect, Command((*command, "-", QUESTION), of_command, raw), expected, ("standard input",), sane=sane
            )
        if way == "several":
            good = self.material.png
            run = Command((*command, name, str(good), QUESTION), of_last)
            return Case(f"{what}, before a good one", Expect.SAME, run, self.material.numbers, names, partly=True)
        return Case(what, expect, Command((*command, name, QUESTION), of_command), expected, names, sane=sane)


def of_command(stdout: str) -> Any:
    """As `explained` gives them, of what the command prints; None where it prints nothing."""
    return per_method(json.loads(stdout)) if stdout.strip() else None


def of_last(stdout: str) -> Any:
    """Of the last image."""
    return per_method(json.loads(stdout.splitlines()[-1])) if stdout.strip() else None


def per_method(content: Any) -> Any:
    return [numbers_of(content | {"explanations": [one]}) for one in content["explanations"]]
