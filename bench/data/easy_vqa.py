"""The test split of easy-VQA: questions about one shape on a 64 x 64 image, from the package `easy-vqa`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from xai.base.errors import XaiError
from xai.bench.data.sample import Sample


def read_easy_vqa() -> list[Sample]:
    """Read the test split, in its own order. Raises `XaiError` where the package is not installed."""
    try:
        import easy_vqa
    except ModuleNotFoundError as error:
        raise XaiError("the data set easy-vqa needs its package: pip install 'xai-vqa[bench]'") from error
    paths = easy_vqa.get_test_image_paths()
    return [
        Sample(str(i), f"easy-vqa {image}", question, {answer: 1.0}, partial(Path, paths[image]))
        for i, (question, answer, image) in enumerate(zip(*easy_vqa.get_test_questions(), strict=True))
    ]
