"""`xai explain --model FOLDER` against the golden relevances, and what is said of folders that cannot be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import xai
from xai.base.errors import XaiError
from xai.cli import main
from xai.runtime.methods import METHODS
from xai.tests.families import DATA, FamilyGolden, error

MIN_GAP = 1e-3


def run(*arguments: str) -> dict[str, Any]:
    found = CliRunner().invoke(main, ["explain", *arguments, "--json", "-"])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_the_command_explains_a_vilt(family_goldens) -> None:
    golden: FamilyGolden = family_goldens("vilt_tiny")
    for c, case in enumerate(golden.cases):
        options = ["--model", str(golden.folder), "--method", "all"]
        found = run(str(golden.folder / case["image"]), case["question"], *options)
        assert found["answer"]["text"] == case["answer"]
        assert found["token_ids"] == case["ids"]
        assert found["grid"] == case["grid"]
        assert abs(found["answer"]["logit"] - golden.expected[f"{c}/logits"].max()) < 1e-4
        compared = 0
        for one in found["explanations"]:
            if one["method"] == "random":
                continue
            key = METHODS[one["method"]].reference_name + ("@all" if one["layers"] == "all" else "")
            for stream in ("text", "image"):
                gaps = [report["gap"] for report in one["solver"] if report["graph"].endswith(stream)]
                if (wanted := golden.expected.get(f"{c}/{key}/{stream}")) is None or any(gap is None or gap < MIN_GAP for gap in gaps):
                    continue
                relevance = np.array(one[f"{stream}_relevance"])
                assert error(relevance, wanted) < 1e-4 or not wanted.any()
                compared += 1
        assert compared >= 13


def test_pictures_of_several_shapes_are_explained_in_one_batch(family_goldens) -> None:
    golden: FamilyGolden = family_goldens("vilt_tiny")
    explainer = xai.load(golden.folder)
    pairs = [(golden.folder / case["image"], case["question"]) for case in (*golden.cases, golden.cases[0])]
    together = explainer.explain_batch(pairs, ["relevance-maps", "dsmi-grad"])
    for pair, found in zip(pairs, together, strict=True):
        alone = explainer.explain_methods(*pair, ["relevance-maps", "dsmi-grad"])
        for a, b in zip(found, alone, strict=True):
            assert a.image_relevance.shape == b.image_relevance.shape
            assert error(a.image_relevance, b.image_relevance) < 1e-4
            assert error(a.text_relevance, b.text_relevance) < 1e-4


def test_every_kind_of_file_is_written_of_a_picture_that_is_no_square(family_goldens, tmp_path: Path) -> None:
    golden: FamilyGolden = family_goldens("vilt_tiny")
    names = ["why.png", "why.html", "why.json", "why.npz"]
    outputs = [part for name in names for part in ("-o", str(tmp_path / name))]
    run(str(golden.folder / "case2.png"), "t64 t32 t98", "--model", str(golden.folder), *outputs)
    assert all((tmp_path / name).stat().st_size > 500 for name in names)
    with np.load(tmp_path / "why.npz") as arrays:
        assert any(array.shape[-2:] == (9, 5) for array in arrays.values())
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.size[0] > 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "vilt_tiny", tmp_path / "vilt"))


def test_folders_that_cannot_be_used_are_one_line(folder: Path, tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        found = CliRunner().invoke(main, ["explain", str(DATA / "vilt_tiny" / "case0.png"), "t5", *arguments])
        assert found.exit_code != 0
        assert found.output.count("\n") == 1, found.output
        return found.output

    assert "does not exist" in refused("--model", str(tmp_path / "none"))
    assert "takes boxes with features" in refused("--model", str(DATA / "lxmert_tiny"))
    assert "runs in the session eager" in refused("--model", str(folder), "--session", "onnx")
    assert "has no GPU to run on" in refused("--model", str(folder), "--provider", "cuda")
    assert "--image-size is for a checkpoint" in refused("--model", str(folder), "--image-size", "96")
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json" in refused("--model", str(folder))
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "architectures": ["ViltForMaskedLM"]}))
    assert "holds a ViltForMaskedLM: not supported; supported are ViltForQuestionAnswering" in refused("--model", str(folder))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(XaiError, match="is not a bundle"):
        xai.load(tmp_path)
