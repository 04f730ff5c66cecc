from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from xai.base.errors import XaiError
from xai.runtime.description import Aspect, Boxes, Square
from xai.runtime.inputs.image import MAX_PIXELS, open_image
from xai.runtime.inputs.pixels import preprocess

MODEL = Square(32, 8, "crop", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def gradient(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


def saved(image: Image.Image, suffix: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, suffix, **options)
    return file.getvalue()


def unprocess(pixels: np.ndarray) -> np.ndarray:
    """Normalised (3, S, S) -> uint8 (S, S, 3)."""
    return np.rint((pixels.transpose(1, 2, 0) * MODEL.std + MODEL.mean) * 255).astype(np.uint8)


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
    pixels, crop, _ = preprocess(picture, MODEL)
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
            image = picture.convert("F")
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


def test_floats_in_other_ranges() -> None:
    grey = np.asarray(gradient(40, 20).convert("L"))
    for scale in (1 / 255, 1.01 / 255, 1, 257):
        found = open_image(Image.fromarray(grey.astype(np.float32) * np.float32(scale)))
        assert np.abs(np.asarray(found)[..., 0].astype(int) - grey).max() <= 3
    with pytest.raises(XaiError, match="NaN or infinite"):
        open_image(Image.fromarray(np.full((4, 4), np.nan, np.float32)))


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
    with pytest.raises(XaiError, match="cannot be read as an image"):
        open_image(np.zeros((4, 4, 7), np.uint8))


def test_a_thread_of_pixels_is_refused_before_it_is_scaled() -> None:
    with pytest.raises(XaiError, match="too long and thin"):
        preprocess(Image.new("RGB", (100_000, 1)), MODEL)
    pixels, crop, _ = preprocess(Image.new("RGB", (500, 1)), MODEL)
    assert pixels.shape == (3, 32, 32)
    assert crop.box[2] - crop.box[0] == 1


def test_a_squashed_picture_is_seen_whole() -> None:
    picture = Image.fromarray(np.arange(40 * 80 * 3, dtype=np.uint32).reshape(40, 80, 3).astype(np.uint8))
    pixels, crop, grid = preprocess(picture, MODEL._replace(fit="squash"))
    assert pixels.shape == (3, 32, 32)
    assert crop.box == (0, 0, 80, 40)
    assert grid == (4, 4)


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (300, 100), (100, 290), (384, 384), (37, 61), (1333, 800), (500, 334)])
def test_a_picture_that_keeps_its_shape_is_sized_as_the_library_does(size: tuple[int, int]) -> None:
    """Against transformers' own processor, from the same bytes."""
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    processor = ViltImageProcessorPil(size={"shortest_edge": 96}, size_divisor=32, do_pad=False)
    wanted = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0])
    found = preprocess(picture, Aspect(96, 159, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    assert found.values.shape == wanted.shape
    assert np.abs(found.values - wanted).max() < 1e-6
    assert found.grid == (wanted.shape[1] // 32, wanted.shape[2] // 32)
    assert found.crop.box == (0, 0, *size)


def test_pictures_that_no_recipe_takes_are_refused_by_name() -> None:
    half = (0.5, 0.5, 0.5)
    with pytest.raises(XaiError, match=r"thin.png is 3000 x 3 pixels: too long and thin for patches of 32 pixels"):
        preprocess(Image.new("RGB", (3000, 3)), Aspect(96, 159, 32, half, half), "thin.png")
    with pytest.raises(XaiError, match=r"photo.png: this model takes boxes with features, not pixels"):
        preprocess(Image.new("RGB", (30, 30)), Boxes(2048), "photo.png")
