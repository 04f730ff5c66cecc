"""The model that ships: exported, without PyTorch, and right about its own examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import xai
from xai.bench.data.scenes import UNSEEN_SEED, samples
from xai.runtime.methods import METHODS

EXAMPLES = Path(__file__).parents[3] / "examples"
QUESTIONS = [
    ("scene1.png", "What color is the circle?", "red"),
    ("scene1.png", "What shape is the black object?", "rectangle"),
    ("scene2.png", "Is there a blue triangle?", "yes"),
    ("scene2.png", "Is the black circle left of the red rectangle?", "yes"),
    ("scene3.png", "Is there a red shape?", "no"),
]


@pytest.fixture(scope="module")
def demo():
    return xai.load()


def test_explaining_imports_neither_torch_nor_transformers(tmp_path) -> None:
    code = (
        "import sys, xai.runtime, xai.cli\n"
        f"arguments = ['explain', {str(EXAMPLES / 'scene1.png')!r}, 'What color is it?', '-m', 'all', '-o', 'why.png', '-o', 'w.html']\n"
        "xai.cli.main(arguments, standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'onnx', 'timm', 'cupy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert run.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "why.png").stat().st_size > 10_000


@pytest.mark.parametrize(("image", "question", "answer"), QUESTIONS)
def test_it_is_right_about_the_examples(demo, image, question, answer) -> None:
    e = demo.explain(EXAMPLES / image, question)
    assert e.answer.text == answer
    assert not e.notes


def test_it_is_right_about_most_unseen_scenes(demo) -> None:
    asked = list(samples(UNSEEN_SEED, 140))
    found = demo.explain_batch([(scene.draw(192), q.text) for scene, q in asked], ["raw-attention"])
    assert np.mean([e[0].answer.text == q.answer for e, (_, q) in zip(found, asked, strict=True)]) > 0.85


def test_the_bundle_equals_the_checkpoint_beside_it(demo) -> None:
    eager = xai.load(session="eager")
    pairs = [(EXAMPLES / image, question) for image, question, _ in QUESTIONS]
    names = [name for name, method in METHODS.items() if name != "random" and not method.lrp]
    for ours, theirs in zip(demo.explain_batch(pairs, names), eager.explain_batch(pairs, names), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.answer.id == b.answer.id
            assert abs(a.answer.logit - b.answer.logit) < 1e-3
            assert {r.status for r in a.solver} == {r.status for r in b.solver}
            if all(r.gap > 1e-3 for r in b.solver):
                for x, y in ((a.image_relevance, b.image_relevance), (a.text_relevance, b.text_relevance)):
                    assert np.abs(x - y).max() <= 1e-3 * max(np.abs(y).max(), 1e-9), a.method
