"""`xai explain --model …` of METER's variants against the golden relevances, and what is said of a model that gives a score."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from xai.cli import main
from xai.meter.checkpoint import read_checkpoint
from xai.runtime.methods import METHODS
from xai.tests.variants import HUB, MATCHING, MIN_GAP, TOLERANCE, Variant

pytestmark = pytest.mark.filterwarnings("always::UserWarning")
SCHEMA = Path(__file__).parents[2] / "runtime" / "schema" / "explanation.schema.json"


def run(*arguments: str) -> dict[str, Any]:
    found = CliRunner().invoke(main, ["explain", *arguments, "--json", "-"])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_the_command_gives_the_references_numbers(variant: Variant) -> None:
    for c, case in enumerate(variant.cases):
        compared = 0
        for layers in ("first", "all"):
            found = run(str(variant.image(c)), case["question"], *variant.cli_options, "--method", "all", "--layers", layers)
            assert (found["answer"]["text"], found["answer"]["id"]) == (case["answer"], case["answer_id"])
            assert found["token_ids"] == case["ids"]
            assert abs(found["answer"]["logit"] - variant.expected[f"{c}/logits"].max()) < 1e-4
            for e in found["explanations"]:
                if not METHODS[e["method"]].published or e["method"] == "random" or (layers == "all" and e["layers"] != "all"):
                    continue
                key = METHODS[e["method"]].reference_name + ("@all" if e["layers"] == "all" else "")
                for stream in ("text", "image"):
                    gaps = [report["gap"] for report in e["solver"] if report["graph"].startswith(stream)]
                    if any(gap is not None and gap <= MIN_GAP for gap in gaps):
                        continue
                    wanted, relevance = variant.wanted(c, key, stream), np.array(e[f"{stream}_relevance"])
                    assert abs(relevance - wanted).max() <= TOLERANCE * abs(wanted).max(), (c, key, stream)
                    compared += 1
        assert compared == 20


@pytest.fixture
def retrieval(variants: Callable[[str], Variant], tmp_path: Path) -> list[str]:
    """The options of a checkpoint that ranks pairs, and one of its pairs."""
    variant = variants(MATCHING)
    state = dict(read_checkpoint(variant.model).tensors)
    weight, bias = state.pop("itm_score.fc.weight"), state.pop("itm_score.fc.bias")
    state |= {"rank_output.weight": weight[1:], "rank_output.bias": bias[1:]}
    torch.save({"state_dict": state, "hyper_parameters": {"config": {"num_heads": 4}}}, tmp_path / "rank.ckpt")
    options = ["--model", str(tmp_path / "rank.ckpt"), "--tokenizer", str(variant.folder / "tokenizer.json")]
    return [str(variant.image(0)), variant.cases[0]["question"], *options]


def test_a_score_is_shown_as_one(retrieval: list[str], tmp_path: Path) -> None:
    found = run(*retrieval)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert [answer["probability"] for answer in (found["answer"], found["target"], *found["top"])] == [None] * 3
    assert any("no probability" in note for note in found["explanations"][0]["notes"])
    shown = f"score {found['answer']['logit']:.3f}"
    terminal = CliRunner().invoke(main, ["explain", *retrieval])
    assert terminal.exit_code == 0, terminal.output
    assert f"match {shown}" in terminal.stdout
    assert "no probability" in terminal.output
    names = ["why.png", "why.html", "why.npz"]
    line = CliRunner().invoke(main, ["explain", *retrieval, *(part for name in names for part in ("-o", str(tmp_path / name)))])
    assert line.exit_code == 0, line.output
    assert f"match ({shown})" in line.stdout
    assert shown in (tmp_path / "why.html").read_text()


def test_folders_that_cannot_be_used_are_one_line(variants: Callable[[str], Variant], tmp_path: Path) -> None:
    variant = variants(HUB)
    folder = Path(shutil.copytree(variant.model, tmp_path / "hub"))

    def refused(*arguments: str) -> str:
        found = CliRunner().invoke(main, ["explain", str(variant.image(0)), "t5", "--model", str(folder), *arguments])
        assert found.exit_code != 0
        assert found.stderr.count("\n") == 1, found.output
        return found.stderr

    order = ["--layer-order", "parallel"]
    assert "has no GPU to run on" in refused(*order, "--tokenizer", str(variant.folder / "tokenizer.json"), "--device", "cuda")
    assert "runs on cpu or cuda, not on 'tpu'" in refused(*order, "--tokenizer", str(variant.folder / "tokenizer.json"), "--device", "tpu")
    assert "tokenizer 'roberta-base' is neither a file nor in the local" in refused(*order)
    config = folder / "config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "prune_r": 0.3, "reduce_layers": [2]}))
    assert "prunes or merges tokens as it runs" in refused(*order, "--tokenizer", str(variant.folder / "tokenizer.json"))
    config.write_text(json.dumps({**content, "model_type": "bert", "architectures": ["BertForMaskedLM"]}))
    assert "holds a BertForMaskedLM: not supported; supported are" in refused()
