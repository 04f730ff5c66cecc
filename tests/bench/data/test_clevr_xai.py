from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xai.base.errors import XaiError
from xai.bench.data.datasets import load_samples
from xai.bench.data.regions import WHOLE, square_cells

SINGLE, FIRST = "ground_truth_simple_questions_single_object", "ground_truth_complex_questions_unique_firstnonempty"


def entry(index: int, question: str, answer: Any, *steps: tuple[str, Any]) -> dict[str, Any]:
    """A question as the release writes it (repository ahmedmagdiosman/clevr-xai, question_generation)."""
    program = [{"type": "scene", "inputs": [], "_output": [0, 1], "value_inputs": []}]
    program += [{"type": kind, "inputs": [i], "_output": output, "value_inputs": []} for i, (kind, output) in enumerate(steps)]
    image = f"CLEVR_unique_{index // 2:06d}"
    return {
        "split": "unique",
        "image_filename": f"{image}.png",
        "image_index": index // 2,
        "image": image,
        "question_family_index": 0,
        "question_index": index,
        "template_filename": "unique_query.json",
        "question": question,
        "answer": answer,
        "program": program,
    }


SIMPLE = [
    entry(0, "What is the small yellow sphere made of?", "metal", ("filter_color", [1]), ("unique", 1), ("query_material", "metal")),
    entry(1, "What color is the cube?", "red", ("filter_shape", [0]), ("unique", 0), ("query_color", "red")),
]
COMPLEX = [
    entry(0, "Is there any other thing of the same size?", True, ("unique", 0), ("same_size", [1]), ("exist", True)),
    entry(1, "How many green cubes are there?", 0, ("filter_color", []), ("filter_shape", []), ("count", 0)),
    entry(2, "Are there more cubes than spheres?", False, ("filter_shape", [0]), ("count", 1), ("greater_than", False)),
]


def mask_of(left: int, right: int) -> np.ndarray:
    mask = np.zeros((128, 128), bool)
    mask[32:64, left:right] = True
    return mask


@pytest.fixture
def folder(tmp_path) -> Path:
    """A stand-in of release v1.0: two images, one mask a question and none where the program comes to nothing."""
    path = tmp_path / "clevr-xai"
    for name in ("images", SINGLE, FIRST):
        (path / name).mkdir(parents=True)
    for i in range(2):
        Image.new("RGB", (480, 320), "gray").save(path / "images" / f"CLEVR_unique_{i:06d}.png")
    for kind, questions in (("simple", SIMPLE), ("complex", COMPLEX)):
        write(path, kind, questions)
    for name in (SINGLE, FIRST):
        np.save(path / name / "0.npy", mask_of(0, 64))
        (path / name / "stats.json").write_text("{}")
    np.save(path / SINGLE / "1.npy", mask_of(96, 128))
    np.save(path / FIRST / "2.npy", mask_of(96, 128))
    return path


def write(path: Path, kind: str, questions: object) -> None:
    (path / f"CLEVR-XAI_{kind}_questions.json").write_text(json.dumps({"info": {"license": "CC BY"}, "questions": questions}))


def test_both_sets_are_read_with_answers_in_words(folder) -> None:
    found = {sample.question_id: sample for sample in load_samples(str(folder))}
    assert set(found) == {"simple-0", "simple-1", "complex-0", "complex-1", "complex-2"}
    assert [next(iter(found[f"complex-{i}"].label)) for i in range(3)] == ["yes", "0", "no"]
    assert found["simple-0"].label == {"metal": 1.0}
    assert found["simple-0"].picture() == folder / "images" / "CLEVR_unique_000000.png"
    assert found["simple-0"].image == found["complex-1"].image
    assert found["simple-0"].words(square_cells(4, 4)) == {}
    (folder / "CLEVR-XAI_simple_questions.json").unlink()
    assert {s.question_id for s in load_samples(str(folder))} == {"complex-0", "complex-1", "complex-2"}


def test_a_mask_is_stretched_over_the_whole_image(folder) -> None:
    found = {sample.question_id: sample for sample in load_samples(str(folder))}
    region = found["simple-0"].truth(square_cells(4, 4))
    assert np.array_equal(region, np.pad(np.ones((1, 2)), ((1, 2), (0, 2))))
    whole = found["simple-0"].truth(WHOLE)
    assert whole is not None
    assert whole[0] == 0.125
    assert found["complex-1"].truth(square_cells(4, 4)) is None  # nothing is counted
    beside = np.array([[0.8, 0, 1, 1]])
    assert found["simple-0"].truth(beside) is None


def test_samples_can_be_sent_to_workers(folder) -> None:
    cells = square_cells(4, 4)
    for sample in load_samples(str(folder)):
        sent = pickle.loads(pickle.dumps(sample))
        assert sent == sample
        assert np.array_equal(sent.truth(cells), sample.truth(cells))
        assert sorted(sent.words(cells)) == sorted(sample.words(cells))


def test_masks_are_read_when_somebody_asks(folder) -> None:
    (folder / SINGLE / "1.npy").write_bytes(b"no array")
    found = {sample.question_id: sample for sample in load_samples(str(folder))}
    with pytest.raises(XaiError, match=r"1\.npy is not an array of NumPy"):
        found["simple-1"].truth(WHOLE)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((320, 480), bool), r"holds bool of shape \(320, 480\), not a mask, bool of shape \(128, 128\)"),
        (np.zeros((128, 128), np.uint8), "holds uint8 of shape"),
        (np.zeros((128, 128, 3), bool), "not a mask"),
        (np.array([{"a": 1}] * 3, dtype=object), "not a mask"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "is not an array of NumPy"),
        (pickle.dumps({"a": 1}), "is not an array of NumPy"),
        (b"", "is not an array of NumPy"),
    ],
)
def test_other_masks_are_one_line(folder, mask, message) -> None:
    path = folder / SINGLE / "0.npy"
    if isinstance(mask, bytes):
        path.write_bytes(mask)
    else:
        np.save(path, mask, allow_pickle=True)
    sample = next(s for s in load_samples(str(folder)) if s.question_id == "simple-0")
    with pytest.raises(XaiError, match=message) as caught:
        sample.truth(WHOLE)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mask_that_is_cut_short_or_in_columns(folder) -> None:
    path = folder / SINGLE / "0.npy"
    np.save(path, np.asfortranarray(mask_of(0, 64)))
    sample = next(s for s in load_samples(str(folder)) if s.question_id == "simple-0")
    region = sample.truth(square_cells(4, 4))
    assert region is not None
    assert region[1].tolist() == [1, 1, 0, 0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(XaiError, match="has not the 16384 bytes of its mask"):
        sample.truth(WHOLE)


def changed(content: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    return [content | changes]


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        (SIMPLE + SIMPLE[:1], "entry 2: 'question_index' is 0, as in an entry before"),
        (changed(SIMPLE[0], question_index=7), r"7\.npy is missing, the mask of question 7"),
        (changed(SIMPLE[0], question_index="0"), "'question_index' is text, not an integer"),
        (changed(SIMPLE[0], image_filename="../../secret.png"), "'image_filename' is not the name of a file"),
        (changed(SIMPLE[0], answer=[1]), "'answer' is a list, not text or true or false or an integer"),
        (changed(SIMPLE[0], question_index=7, program=[{"type": "scene"}]), "'program' step 0: '_output' is missing"),
        ({}, r"simple_questions\.json is not JSON as expected: Expecting '\['"),
        ([3], "entry 0 is an integer, not an object"),
    ],
)
def test_questions_that_are_not_the_releases_are_one_line(folder, questions, message) -> None:
    write(folder, "simple", questions)
    with pytest.raises(XaiError, match=message) as caught:
        load_samples(str(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_masks_that_were_not_unpacked_are_one_line(folder) -> None:
    for mask in (folder / SINGLE).iterdir():
        mask.unlink()
    (folder / SINGLE).rmdir()
    with pytest.raises(XaiError, match=f"folder .*{SINGLE}, which holds the masks, cannot be read"):
        load_samples(str(folder))
