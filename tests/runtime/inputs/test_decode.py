from __future__ import annotations

import io
import logging
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xai.base.errors import BadInput, XaiError
from xai.runtime.description import Aspect, Boxes, Description, Square
from xai.runtime.inputs.decode import FORMATS, MAX_PIXELS, SUFFIXES, open_image
from xai.runtime.inputs.resize import patch_grid, preprocess
from xai.tests.runtime.test_description import DESCRIPTION

HALF = (0.5, 0.5, 0.5)


def takes(picture: Any) -> Description:
    """A model that takes such pictures."""
    return Description(**{**vars(DESCRIPTION), "picture": picture})


MODEL = takes(Square(32, 8, "crop", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))


def gradient(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


def saved(image: Image.Image, suffix: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, suffix, **options)
    return file.getvalue()


def unprocess(pixels: np.ndarray) -> np.ndarray:
    """Normalised (3, S, S) -> uint8 (S, S, 3)."""
    return np.rint((pixels.transpose(1, 2, 0) * MODEL.square.std + MODEL.square.mean) * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((32, 32), (0, 0, 32, 32)),
        ((64, 32), (16, 0, 48, 32)),
        ((32, 64), (0, 16, 32, 48)),
        ((100, 50), (25, 0, 75, 50)),
        ((3, 9), (0, 3, 3, 6)),
    ],
)
def test_the_centre_square_is_seen(size, box) -> None:
    picture = gradient(*size)
    pixels, crop = preprocess(picture, MODEL)
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == np.float32
    assert crop.box == box
    if size[0] in (32, 64):  # no scaling: the very pixels
        assert np.array_equal(unprocess(pixels), np.asarray(picture.crop(box)))


def test_exif_orientation_is_honoured() -> None:
    picture = gradient(40, 20)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    upright = open_image(saved(picture, "PNG", exif=exif))
    assert upright.size == (20, 40)
    assert np.array_equal(np.asarray(upright), np.asarray(picture.rotate(-90, expand=True)))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1", "I;16", "I", "F"])
def test_other_modes_are_converted(mode) -> None:
    picture = gradient(40, 20)
    match mode:
        case "I;16":
            image = Image.fromarray((np.asarray(picture.convert("L")).astype(np.uint16)) * 257)
        case "I":
            image = Image.fromarray((np.asarray(picture.convert("L")).astype(np.int32)) * 257)
        case "F":
            image = Image.fromarray(np.asarray(picture.convert("L"), np.float32) / np.float32(255))
        case _:
            image = picture.convert(mode)
    assert image.mode == mode
    converted = open_image(image)
    assert converted.mode == "RGB"
    if mode == "CMYK":
        expected = picture
    elif mode in ("L", "I;16", "I", "F", "LA"):
        expected = picture.convert("L").convert("RGB")
    else:
        expected = image.convert("RGB")
    assert np.abs(np.asarray(converted, int) - np.asarray(expected, int)).max() <= 1


def test_a_transparent_level_of_16_bits_turns_white() -> None:
    image = Image.fromarray(np.array([[1000, 65535], [1000, 0]], np.uint16))
    image.info["transparency"] = 1000
    assert np.asarray(open_image(image))[..., 0].tolist() == [[255, 255], [255, 0]]


def test_16_bit_png_and_cmyk_jpeg_from_a_file() -> None:
    deep = Image.fromarray((np.asarray(gradient(8, 8).convert("L")).astype(np.uint16)) * 257)
    assert np.array_equal(np.asarray(open_image(saved(deep, "PNG"))), np.asarray(gradient(8, 8).convert("L").convert("RGB")))
    assert open_image(saved(gradient(16, 16).convert("CMYK"), "JPEG")).mode == "RGB"


@pytest.mark.parametrize("palette", [False, True])
def test_transparency_lies_on_white(palette) -> None:
    image = Image.new("RGBA", (10, 10), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 5, 10))
    content = saved(image.quantize(4) if palette else image, "PNG")
    found = np.asarray(open_image(content))
    assert (found[:, :5] == 255).all()
    assert (found[:, 5:] == (255, 0, 0)).all()


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]
    assert open_image(saved(frames[0], "GIF", save_all=True, append_images=frames[1:])).getpixel((4, 4)) == (255, 0, 0)


def test_arrays_and_open_files_are_images_too(tmp_path) -> None:
    picture = gradient(12, 10)
    picture.save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        for source in (np.asarray(picture), file, tmp_path / "a.png", str(tmp_path / "a.png")):
            assert np.array_equal(np.asarray(open_image(source)), np.asarray(picture))


def bomb(width: int, height: int) -> bytes:
    """A few bytes that claim to be a large PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8001, 16_000, 60_000])
def test_images_over_the_limit_are_refused_before_they_are_decoded(side, tmp_path) -> None:
    assert side * side > MAX_PIXELS
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side, side))
    with pytest.raises(XaiError, match=r"bomb\.png .*64 megapixels|bomb\.png is larger than 64 megapixels"):
        open_image(path)


def test_the_limit_holds_for_pictures_in_memory_too() -> None:
    with pytest.raises(XaiError, match="more than 64 megapixels"):
        open_image(Image.new("1", (8001, 8001)))


def test_what_is_no_image_is_named(tmp_path) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    png = saved(gradient(64, 64), "PNG")
    (tmp_path / "half.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "half.jpg").write_bytes(saved(gradient(64, 64), "JPEG")[:-300])
    for name, message in (
        ("text.png", r"text\.png is not an image"),
        ("empty.png", r"empty\.png is not an image"),
        ("half.png", r"half\.png cannot be read"),
        ("half.jpg", r"half\.jpg cannot be read"),
        ("none.png", r"none\.png does not exist"),
        ("", "is a folder"),
    ):
        with pytest.raises(XaiError, match=message):
            open_image(tmp_path / name)


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(XaiError, match="is empty: 0 x 5"):
        open_image(Image.new("RGB", (0, 5)))
    with pytest.raises(XaiError, match="is empty: 5 x 0"):
        open_image(np.zeros((0, 5), np.uint8))


def test_a_thread_of_pixels_is_refused_before_it_is_scaled() -> None:
    with pytest.raises(XaiError, match="too long and thin"):
        preprocess(Image.new("RGB", (100_000, 1)), MODEL)
    pixels, crop = preprocess(Image.new("RGB", (500, 1)), MODEL)
    assert pixels.shape == (3, 32, 32)
    assert crop.box[2] - crop.box[0] == 1


DAMAGED = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


@pytest.mark.parametrize("form", DAMAGED)
def test_any_damage_in_any_format_is_one_line_that_names_the_file(form, tmp_path, capfd) -> None:
    """Of damaged bytes either a picture or one `BadInput` comes, and no decoder prints."""
    rng = np.random.default_rng(DAMAGED.index(form))
    options = [{"compression": c} for c in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")] if form == "TIFF" else [{}]
    refused = 0
    for option in options:
        whole = saved(Image.fromarray(rng.integers(0, 256, (48, 40, 3), np.uint8)), form, **option)
        assert open_image(whole).size == (40, 48)
        for case in range(60):
            content = bytearray(whole[: len(whole) - case % 2 * int(rng.integers(0, len(whole)))])
            for place in rng.integers(0, max(len(content), 1), 1 + case % 5) if content else ():
                content[place] = rng.integers(0, 256)
            path = tmp_path / "damaged.png"
            path.write_bytes(content)
            try:
                assert open_image(path).mode == "RGB"
            except BadInput as error:
                refused += 1
                assert "damaged.png" in str(error) and "\n" not in str(error)
    assert refused > 10
    assert capfd.readouterr().err == ""


def test_libtiff_prints_nothing(capfd) -> None:
    content = bytearray(saved(gradient(64, 64), "TIFF", compression="tiff_lzw"))
    content[200:400] = bytes(200)
    with pytest.raises(BadInput, match="cannot be read"):
        open_image(bytes(content))
    assert capfd.readouterr().err == ""


def test_pillow_logs_nothing_to_a_program_that_does_not_log(capfd, monkeypatch) -> None:
    content = saved(gradient(8, 8), "TIFF")
    samples = struct.pack("<HHIH", 277, 3, 1, 3)
    assert content.count(samples) == 1
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's
    with pytest.raises(BadInput, match="not an image"):
        open_image(content.replace(samples, struct.pack("<HHIH", 277, 3, 1, 2048)))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("form", ["EPS", "TGA", "PCX", "ICO"])
def test_formats_that_are_not_on_the_list_reach_no_decoder(form, tmp_path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(saved(gradient(16, 16), form))
    with pytest.raises(BadInput, match=r"picture\.png is not an image in a format that is read here: AVIF, BMP"):
        open_image(path)


def test_the_list_of_formats_says_which_files_of_a_folder_are_images() -> None:
    assert {".avif", ".jp2", ".jfif", ".jpg", ".png", ".webp", ".tif", ".gif", ".bmp", ".ppm"} <= set(SUFFIXES)
    assert (".heic" in SUFFIXES) == ("HEIF" in FORMATS)
    assert not {".eps", ".psd", ".pdf", ".ico"} & set(SUFFIXES)


GREY = np.array([[0, 1, 100], [200, 254, 255]])


@pytest.mark.parametrize(
    "values",
    [
        GREY.astype(np.uint8),
        (GREY * 257).astype(np.uint16),
        (GREY * 257).astype(np.int32),
        *(GREY.astype(kind) for kind in (np.int16, np.int32, np.int64, np.uint32, np.uint64)),
        *((GREY / 255).astype(kind) for kind in (np.float32, np.float64)),
        (GREY * 257).astype(">u2"),
    ],
)
def test_levels_are_read_by_type_and_range(values) -> None:
    assert np.array_equal(np.asarray(open_image(values))[..., 0], GREY)
    for shape, expected in (((2, 3, 1), "grey"), ((2, 3, 3), "rgb"), ((2, 3, 4), "rgba")):
        found = np.asarray(open_image(np.broadcast_to(values[..., None], shape)))
        laid_on_white = np.rint(GREY * (GREY / 255) + 255 - GREY)
        assert abs(found[..., 0] - (laid_on_white if expected == "rgba" else GREY).astype(float)).max() <= 1


def test_every_level_of_16_bits_goes_to_the_nearest_of_8() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(np.asarray(open_image(values))[..., 0], np.rint(values / 257))
    assert np.asarray(open_image(np.array([[True, False]])))[..., 0].tolist() == [[255, 0]]
    assert np.asarray(open_image(np.zeros((1, 2), np.uint16))).max() == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (GREY.astype(np.uint16), "16 bits but no level above 255"),
        (GREY - 1, "levels from -1 to 254"),
        (GREY * 258, "levels from 0 to 65790"),
        (GREY.astype(np.float32), "levels from 0 to 255: floating-point"),
        (GREY / 250, "levels from 0 to 1.02"),
        (np.array([[0.5, np.nan]]), "NaN or infinite"),
        (np.array([[0.5, -np.inf]]), "NaN or infinite"),
        (np.array([[1j]]), "holds complex128"),
        (np.array([["a"]]), "holds <U1"),
        (np.array([[None]]), "holds object"),
        (np.arange(12, dtype=np.uint8), r"shape \(12,\)"),
        (np.zeros((3, 40, 50), np.uint8), r"shape \(3, 40, 50\)"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"shape \(1, 4, 4, 3\)"),
        (np.zeros((), np.uint8), r"shape \(\)"),
    ],
)
def test_what_the_rule_does_not_decide_is_refused(values, message) -> None:
    with pytest.raises(BadInput, match=message):
        open_image(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (GREY.astype(np.int32) * 70000 // 255, "levels from 0 to 70000"),
        (GREY.astype(np.uint16), "no level above 255"),
        (GREY.astype(np.float32), "levels from 0 to 255: floating"),
    ],
)
def test_pictures_of_more_bits_are_read_by_the_same_rule(values, message) -> None:
    picture = Image.fromarray(values)
    assert picture.mode in ("I", "I;16", "F")
    with pytest.raises(BadInput, match=message):
        open_image(picture)


@pytest.mark.parametrize("source", [None, 3, ["a.png"], object()])
def test_what_holds_no_picture_is_named_by_its_type(source) -> None:
    with pytest.raises(BadInput, match=f"the image is of type {type(source).__name__}: give a path, bytes"):
        open_image(source)


def test_bytes_of_any_kind_are_a_file() -> None:
    content = saved(gradient(8, 8), "PNG")
    for source in (content, bytearray(content), memoryview(content)):
        assert np.array_equal(np.asarray(open_image(source)), np.asarray(gradient(8, 8)))
    with pytest.raises(BadInput, match="cannot be read"):
        open_image("nul\0.png")


def test_a_squashed_picture_is_seen_whole() -> None:
    picture = Image.fromarray(np.arange(40 * 80 * 3, dtype=np.uint32).reshape(40, 80, 3).astype(np.uint8))
    model = takes(MODEL.square._replace(fit="squash"))
    pixels, crop = preprocess(picture, model)
    assert pixels.shape == (3, 32, 32)
    assert crop.box == (0, 0, 80, 40)
    assert patch_grid(pixels, model) == (4, 4)


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (300, 100), (100, 290), (384, 384), (37, 61), (1333, 800), (500, 334)])
def test_a_picture_that_keeps_its_shape_is_sized_as_the_library_does(size: tuple[int, int]) -> None:
    """Against transformers' own processor, from the same bytes."""
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    processor = ViltImageProcessorPil(size={"shortest_edge": 96}, size_divisor=32, do_pad=False)
    wanted = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0])
    model = takes(Aspect(96, 159, 32, HALF, HALF))
    pixels, crop = preprocess(picture, model)
    assert pixels.shape == wanted.shape
    assert np.abs(pixels - wanted).max() < 1e-6
    assert patch_grid(pixels, model) == (wanted.shape[1] // 32, wanted.shape[2] // 32)
    assert crop.box == (0, 0, *size)


def test_pictures_that_no_recipe_takes_are_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"thin.png is 3000 x 3 pixels: too long and thin for patches of 32 pixels"):
        preprocess(Image.new("RGB", (3000, 3)), takes(Aspect(96, 159, 32, HALF, HALF)), "thin.png")
    with pytest.raises(BadInput, match=r"photo.png: this model takes boxes with features, not pixels"):
        preprocess(Image.new("RGB", (30, 30)), takes(Boxes(2048)), "photo.png")


@pytest.mark.parametrize("name", ["", "a\nb.png", "x" * 300])
def test_a_name_however_odd_leaves_the_message_one_line(name) -> None:
    with pytest.raises(BadInput, match=r"does not exist|cannot be read|is a folder") as raised:
        open_image(name)
    assert "\n" not in str(raised.value)
