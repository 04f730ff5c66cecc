"""The whole check on the demo's bundle: verdicts that are known beforehand, steadiness, the same bytes twice, and no PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from xai.bench.data.datasets import load_samples
from xai.bench.sanity.asking import Asked, Found, Maps, ask, explain
from xai.bench.sanity.randomise import MEASURES, Randomised, randomise
from xai.bench.sanity.report import LIMIT, markdown, sanity_report, verdict
from xai.bench.sanity.steady import NOISES, RADIUS, Steady, add_noise, largest_change, measure_steadiness
from xai.bench.sanity.weights import Network
from xai.cli import main
from xai.models.load import load
from xai.runtime.description import Description
from xai.runtime.evidence import Evidence
from xai.runtime.explainer import Explainer
from xai.runtime.inputs.kept import KeptImages
from xai.runtime.methods import METHODS, Method
from xai.runtime.needs import need_reading
from xai.runtime.relevance import Relevance, raw_attention
from xai.runtime.sessions.onnx import OnnxSession

FILES = ("sanity.json", "sanity.md", "sanity.png")


@pytest.fixture(scope="module")
def demo() -> Explainer:
    return load("demo", threads=1)


@pytest.fixture(scope="module")
def asked(demo: Explainer) -> list[Asked]:
    return ask(demo, load_samples("scenes", 5, 1234), None, 1234)


def blind(evidence: Evidence) -> Relevance:
    """Looks at the picture's shape and the question's length, and at nothing that the network makes of them."""
    found = raw_attention(evidence)
    alike = np.arange(found.text.shape[1], dtype=np.float64), np.cos(np.arange(found.image.shape[1]))
    return Relevance(*(part[None].repeat(len(rows), 0) for part, rows in zip(alike, found, strict=True)))


def hashed(evidence: Evidence) -> Relevance:
    """Reads digits of the attention that any change of a weight changes."""
    found = raw_attention(evidence)
    return Relevance(*(np.modf(np.abs(row.astype(np.float64)) * 1e4)[0] for row in found))


def idle(done: int, total: int) -> None:
    assert 0 < done <= total


def measure(explainer: Explainer, asked: list[Asked], methods: list[str], seed: int = 3) -> tuple[list[Found], Randomised]:
    originals = list(explain(explainer, asked, methods))
    bundle = explainer.session.bundle
    return originals, randomise(explainer, bundle, asked, originals, methods, seed, lambda copy: OnnxSession(copy, threads=1), idle)


@pytest.fixture(scope="module")
def planted(demo: Explainer, asked: list[Asked]) -> tuple[list[str], list[Found], Randomised, dict]:
    names = ["blind", "hashed", "random", "raw-attention"]
    with pytest.MonkeyPatch.context() as patch:
        for method in (
            Method("blind", "blind", blind, need_reading("attention")),
            Method("hashed", "hashed", hashed, need_reading("attention")),
        ):
            patch.setitem(METHODS, method.name, method)
        originals, found = measure(demo, asked, names)
        steady = measure_steadiness(demo, asked, originals, names, 3, idle)
        report = sanity_report(demo.session.description, {}, asked, names, found, steady)
    return names, originals, found, report


def test_a_method_that_ignores_the_weights_fails_and_one_that_reads_them_passes(planted) -> None:
    methods = planted[3]["methods"]
    assert methods["blind"]["passes"] is False
    assert methods["blind"]["fails_by"] == list(MEASURES[:3])
    assert methods["hashed"]["passes"] is True
    assert methods["random"]["passes"] is None and methods["random"]["reads_weights"] is False
    for name in ("blind", "random"):
        for steps in ("cascade", "alone"):
            for measured in MEASURES[:3]:
                assert [point["mean"] for point in methods[name][steps][measured]] == pytest.approx([1] * len(planted[3]["layers"]))


def test_curves_have_a_point_for_each_layer_and_meet_at_the_first(planted) -> None:
    _, _, found, report = planted
    layers = len(found.network.layers)
    assert found.cascade.shape == found.alone.shape == (layers, 4, 5, len(MEASURES))
    assert np.array_equal(found.cascade[0], found.alone[0], equal_nan=True)
    assert not np.array_equal(found.cascade[1:], found.alone[1:], equal_nan=True)
    assert len(report["layers"]) == layers
    assert sum(layer["numbers"] for layer in report["layers"]) == sum(weight.size for weight in found.network.weights)


def test_what_stands_below_a_layer_does_not_notice_it(planted) -> None:
    """Raw attention of the last layer: the classifier above it changes nothing, the encoder below it everything."""
    names, _, found, _ = planted
    layers, raw = [layer.name for layer in found.network.layers], names.index("raw-attention")
    assert found.alone[layers.index("vqa_classifier"), raw, :, :3] == pytest.approx(1)
    assert (found.alone[layers.index("vit_model.visual"), raw, :, 0] < 0.95).all()


def test_kept_tokens_of_images_change_nothing(demo: Explainer, asked: list[Asked], planted, monkeypatch) -> None:
    """They are used again where the encoder is the same, and there alone."""
    monkeypatch.setattr(demo, "kept", KeptImages(2**24))
    _, again = measure(demo, asked[:1], ["raw-attention"])
    assert demo.kept.hits > 0
    names, _, found, _ = planted
    raw = names.index("raw-attention")
    for one, other in ((again.cascade, found.cascade), (again.alone, found.alone)):
        assert one[:, 0, 0] == pytest.approx(other[:, raw, 0], abs=1e-3)  # asked alone, not in a batch


def one_method(values: np.ndarray, asked: list[Asked], method: str, description: Description) -> dict:
    """The report of a method whose maps were so similar, (questions, measures), with all weights drawn anew."""
    randomised = Randomised(Network((), ()), np.zeros((0, 1, *values.shape)), np.zeros((0, 1, *values.shape)), values[None])
    steady = Steady(np.zeros((1, len(asked), 2)), 0, np.array([True]), np.zeros((1, 2)))
    return sanity_report(description, {}, asked, [method], randomised, steady)["methods"][method]


@pytest.mark.parametrize(
    ("means", "fails"),
    [
        ((0, 0, 0), []),
        ((LIMIT - 0.01, LIMIT - 0.01, LIMIT - 0.01), []),
        ((1, 0, 0), ["image_spearman"]),
        ((0, LIMIT, 0), ["image_ssim"]),
        ((0, np.nan, -0.9), ["words_spearman"]),
        ((np.nan, np.nan, 0), []),
    ],
)
def test_a_verdict_follows_its_rule(demo: Explainer, asked: list[Asked], means: tuple[float, ...], fails: list[str]) -> None:
    values = np.tile([*means, 5.0], (len(asked), 1))
    found = one_method(values, asked, "rollout", demo.session.description)
    assert found["fails_by"] == fails and found["passes"] is (not fails)
    assert one_method(values, asked, "random", demo.session.description)["passes"] is None


def test_a_mean_of_few_that_differ_is_not_enough_for_a_pass(demo: Explainer, asked: list[Asked]) -> None:
    values = np.tile([0.0, 0.0, 0.0, 0.0], (len(asked), 1))
    values[: len(asked) // 2, 0] = 0.8  # their mean is 0.4, the interval reaches beyond the limit
    assert one_method(values, asked, "rollout", demo.session.description)["fails_by"] == ["image_spearman"]


def test_few_images_give_no_verdict(demo: Explainer, asked: list[Asked]) -> None:
    few = [one._replace(group=one.group % 4) for one in asked]
    for value in (0.0, 1.0):
        found = one_method(np.full((len(few), 4), value), few, "rollout", demo.session.description)
        assert found["reads_weights"] and found["passes"] is None and found["fails_by"] == []
        assert verdict(found) == "too few images"


def test_the_largest_change_is_relative_to_the_map() -> None:
    before = Maps(np.array([[3.0, 4.0]]), np.array([1.0, 0.0]))
    after = [Maps(before.image + shift, before.words) for shift in (0.1, -0.3, 0.2)]
    assert largest_change(before, after, 0) == pytest.approx(0.3 * 2**0.5 / 5)
    assert largest_change(before, after, 1) == 0
    assert np.isnan(largest_change(before, [], 0))
    assert np.isnan(largest_change(Maps(np.zeros((1, 2)), np.zeros(2)), after, 0))


def test_noise_keeps_within_its_radius(asked: list[Asked]) -> None:
    image = asked[0].image
    (noisy,) = add_noise(image, np.random.default_rng(0))
    reach = RADIUS * np.ptp(image.arrays[0])
    difference = np.abs(noisy - image.arrays[0])
    assert noisy.dtype == image.arrays[0].dtype
    assert 0.99 * reach < difference.max() <= reach * (1 + 1e-5)
    assert difference.mean() == pytest.approx(reach / 2, rel=0.02)


def test_noise_that_changes_the_answer_does_not_count(demo: Explainer, asked: list[Asked]) -> None:
    methods = ["raw-attention", "random"]
    originals = list(explain(demo, asked, methods))
    steady = measure_steadiness(demo, asked, originals, methods, 0, idle)
    assert steady.answered_otherwise == 0
    assert (steady.sensitivity[0, :, 0] > 0).all() and (steady.sensitivity[1] == 0).all()
    assert steady.twice.all() and (steady.batched <= 1e-4).all()
    elsewhere = [found._replace(answer=-1) for found in originals]
    steady = measure_steadiness(demo, asked, elsewhere, methods, 0, idle)
    assert steady.answered_otherwise == NOISES * len(asked)
    assert np.isnan(steady.sensitivity).all()


def test_a_change_of_one_byte_is_noticed(demo: Explainer, asked: list[Asked]) -> None:
    originals = list(explain(demo, asked, ["raw-attention"]))
    (maps,) = originals[2].maps
    other = maps.image.copy()
    other[0, 0] = np.nextafter(other[0, 0], np.inf)
    originals[2] = originals[2]._replace(maps=(maps._replace(image=other),))
    assert not measure_steadiness(demo, asked, originals, ["raw-attention"], 0, idle).twice.any()


COMMAND = ["bench", "sanity", "--samples", "2", "--methods", "dsmi-grad,random", "--threads", "1"]
WITHOUT_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoTorch())
from xai.cli import main
try:
    main(sys.argv[1:])
finally:
    assert not {"torch", "transformers"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sanity") / "made" / "here"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *COMMAND, "-o", str(folder)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=folder.parents[1],
    )
    assert done.returncode == 0, done.stderr
    assert "# Sanity checks" in done.stdout
    return folder


def test_the_command_runs_without_torch_and_writes_three_files(without_torch: Path) -> None:
    assert sorted(path.name for path in without_torch.iterdir()) == sorted(FILES)
    report = json.loads((without_torch / "sanity.json").read_text())
    assert report["kind"] == "sanity" and report["model"]["name"] == "demo" and report["questions"] == 2
    assert list(report["methods"]) == ["dsmi-grad", "random"]
    assert (without_torch / "sanity.md").read_text() == markdown(report)
    assert (without_torch / "sanity.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_gives_the_same_bytes(without_torch: Path, tmp_path) -> None:
    (tmp_path / "sanity.md").write_text("of a run before")
    found = CliRunner().invoke(main, [*COMMAND, "-o", str(tmp_path), "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout) == json.loads((tmp_path / "sanity.json").read_text())
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (without_torch / name).read_bytes(), name


def test_what_was_there_stays_where_nothing_came_of_it(tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("xai.bench.sanity.randomise.randomise", fail)
    (tmp_path / "sanity.json").write_text("{}")
    found = CliRunner().invoke(main, [*COMMAND, "-o", str(tmp_path)])
    assert found.exit_code != 0
    assert [path.name for path in tmp_path.iterdir()] == ["sanity.json"]
    assert (tmp_path / "sanity.json").read_text() == "{}"


Refuse = Callable[[Path], list[str]]


def _file(folder: Path) -> list[str]:
    (folder / "meter.ckpt").write_bytes(b"x")
    return ["--model", str(folder / "meter.ckpt")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (_file, "is a file; a bundle is a folder: xai export makes one of a checkpoint"),
        (lambda _: ["--methods", ","], "names no method"),
        (lambda _: ["--methods", "no-such"], "unknown method 'no-such'"),
        (lambda _: ["--data", "no-such"], "unknown data set"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(arguments: Refuse, said: str, tmp_path) -> None:
    found = CliRunner().invoke(main, ["bench", "sanity", "-o", str(tmp_path / "out"), *arguments(tmp_path)])
    assert found.exit_code == 1
    assert said in found.output
    assert len(found.output.strip().splitlines()) == 1
