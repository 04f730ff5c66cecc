"""`xai inspect`, `xai doctor`, `xai answers build`."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from xai.base.errors import XaiError
from xai.bench.data.vqa_answers import build_answers, normalise_answer
from xai.commands import diagnosis
from xai.commands.answers import answers
from xai.commands.doctor import doctor as doctor_command


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes", "yes"),
        ("two", "2"),
        ("None", "0"),
        ("a dog.", "dog"),
        ("2.50", "2.50"),
        ("1,000", "1000"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("black, white", "black white"),
        ("t-shirt", "t shirt"),
        ("12:15", "12:15"),
        ("at&t", "at&t"),
        ("dont know", "don't know"),
        ("it isnt", "it isn't"),
        ("woman's", "woman's"),
        ("the", ""),
    ],
)
def test_answers_are_spelled_as_the_evaluation_does(answer: str, expected: str) -> None:
    assert normalise_answer(answer) == expected
    assert normalise_answer(expected) == expected


def test_the_published_answers_stay_as_they_are() -> None:
    path = Path(__file__).parents[3] / "shared" / "vqa" / "vqa_dict.json"
    if not path.is_file():
        pytest.skip(f"the published answer list is not at {path}")
    names = list(json.loads(path.read_text()).values())
    assert len(names) > 3000
    assert [name for name in names if normalise_answer(name) != name] == []


def annotations(path: Path, *names: str) -> Path:
    path.write_text(json.dumps({"annotations": [{"multiple_choice_answer": name, "question_id": i} for i, name in enumerate(names)]}))
    return path


def test_frequent_answers_are_kept_in_order_of_first_appearance(tmp_path: Path) -> None:
    train = annotations(tmp_path / "train.json", "rare", "Two", "yes", *["yes"] * 7, *["no"] * 9)
    val = annotations(tmp_path / "val.json", "yes", *["2"] * 8, *["red"] * 8)
    assert build_answers([train, val]) == ["2", "yes", "no"]
    assert build_answers([val, train]) == ["yes", "2", "no"]
    result = CliRunner().invoke(answers, ["build", str(train), str(val), "-o", str(tmp_path / "out.json"), "--min-count", "8"])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out.json").read_text()) == ["2", "yes", "no", "red"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"annotations": [{}]}', '{"annotations": 3}', "\xff"])
def test_what_is_no_annotation_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "train.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(XaiError, match=r"train\.json") as raised:
        build_answers([path])
    assert "\n" not in str(raised.value)
    with pytest.raises(XaiError, match="nothing"):
        build_answers([tmp_path / "nothing.json"])


@pytest.mark.parametrize(
    ("installed", "problem"),
    [
        ({"onnxruntime": "1", "onnxruntime-gpu": "1"}, "overwrite each other"),
        ({}, "no ONNX Runtime"),
        ({"onnxruntime-gpu": "1", "cupy-cuda12x": "14"}, "CUDA 12"),
        ({"onnxruntime": "1"}, None),
    ],
)
def test_doctor_names_conflicts(monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], problem: str | None) -> None:
    def version(name: str) -> str:
        if name in installed:
            return installed[name]
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    problems = diagnosis.examine().problems
    assert any(problem in line for line in problems) if problem else not problems
    result = CliRunner().invoke(doctor_command)
    assert (result.exit_code == 0) == (problem is None)
    assert "providers" in result.output or "onnxruntime" not in str(installed)
