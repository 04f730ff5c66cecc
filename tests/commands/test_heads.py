"""Heads that a checkpoint does not tell: never guessed in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from xai.cli import main
from xai.meter.checkpoint import read_checkpoint

pytestmark = pytest.mark.filterwarnings("always::UserWarning")
"""As the command shows them, and not as errors."""


@pytest.fixture
def silent(tiny, tmp_path: Path) -> list[str]:
    """A command on a checkpoint that does not say how many heads it has."""
    torch.save(read_checkpoint(tiny.checkpoint).tensors, tmp_path / "silent.pt")
    files = ["--model", str(tmp_path / "silent.pt"), "--tokenizer", str(tiny.tokenizer), "--answers", str(tiny.answers)]
    return ["explain", str(tiny.image(0)), tiny.cases[0]["question"], *files, "--json", "-"]


def test_explain_asks_for_heads_and_takes_them(silent: list[str], tiny) -> None:
    refused = CliRunner().invoke(main, silent)
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert "silent.pt does not say how many heads attend across modalities" in refused.stderr
    assert "--heads N" in refused.stderr
    found = CliRunner().invoke(main, [*silent, "--heads", "4"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["answer"]["text"] == tiny.cases[0]["answer"]


def test_what_is_assumed_is_said_on_stderr(silent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai.meter.sizes.PUBLISHED_HEADS", {64: 4})
    found = CliRunner().invoke(main, silent)
    assert found.exit_code == 0, found.output
    assert "4 are assumed, as the published METER of width 64 has; --heads N says another number" in found.stderr
    json.loads(found.stdout)
