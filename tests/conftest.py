"""What every test shares: the tiny reference models with the reference's outputs."""

from __future__ import annotations

import functools
import gc
import json
import math
import os
import shutil
import sys
import types
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before PyTorch loads it: MKL takes another kernel on every kind of CPU, and bounds of 1e-5 are for one kind of rounding.
os.environ.setdefault("MKL_CBWR", "AVX2")
# As the command does: NumPy's threads spin on the cores that the other tests want (`xai.base.process.let_blas_sleep`).
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

import xai
from xai.base.lock import locked
from xai.cli import main
from xai.export.bundle import export_bundle
from xai.runtime.bundle.manifest import FORMATS, Bundle
from xai.runtime.bundle.reader import read_bundle
from xai.runtime.explainer import Explainer
from xai.tests.families import FamilyGolden
from xai.tests.torchvision_standin import import_timm
from xai.tests.variants import HUB, SWIN, VARIANTS, Variant, hub_names

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DATA = Path(__file__).parent / "data"
SHARED_GOLDEN = Path(__file__).parents[2] / "shared" / "golden"
NOT_METERS = {"itm_score.fc.weight": (2, 128), "text_transformer.embeddings.position_ids": (1, 514)}


def pytest_collection_finish() -> None:
    """Whoever collects garbage, as an export does, need not look through every module and test."""
    gc.collect()
    gc.freeze()


def pytest_report_header(config: pytest.Config) -> str:
    """Say which copy is tested: after a plain `pip install .` it is the installed one, not the checkout."""
    return f"xai: {xai.__file__}"


@pytest.fixture(scope="module")  # no longer: while it runs, so does an event loop, and no other test can start one
def browser() -> Iterator[Browser]:
    """A Chromium; where there is none, the test is skipped."""
    from xai.tests.serve.page.browser import chromium, find_chromium

    path = find_chromium()
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with chromium(path) as running:
        yield running


def generated_tensor(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The tensor of that name in the reference models with generated weights: it depends on name and shape alone."""
    x = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode()))).standard_normal(shape, dtype=np.float32)
    if len(shape) == 1:
        return (1 + 0.05 * x if name.endswith("weight") else 0.02 * x).astype(np.float32)
    if "embedding" in name.lower():
        return (0.05 * x).astype(np.float32)
    gain = 1.0
    if name.endswith(("query.weight", "key.weight")):
        gain = 2.5
    elif name.endswith(("output.dense.weight", "out_proj.weight", "c_proj.weight")):
        gain = 0.2
    return (gain * x / math.sqrt(math.prod(shape[1:]))).astype(np.float32)


def generated_state(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor that `folder/state_dict_shapes.json` lists."""
    shapes = json.loads((folder / "state_dict_shapes.json").read_text())
    tensors = {name: torch.from_numpy(generated_tensor(name, tuple(shape))) for name, shape in shapes.items()}
    return tensors | {file.stem: torch.from_numpy(np.load(file)) for file in folder.glob("*.npy")}


class _ForeignModule:
    """Makes a class of a package that is not installed importable while a checkpoint is pickled."""

    def __init__(self, module: str, name: str, base: type) -> None:
        self.module, self.cls = module, type(name, (base,), {"__module__": module})
        self.cls.__qualname__ = name

    def __enter__(self) -> type:
        parts = self.module.split(".")
        self.added = [".".join(parts[: i + 1]) for i in range(len(parts))]
        for name in self.added:
            sys.modules[name] = types.ModuleType(name)
        setattr(sys.modules[self.module], self.cls.__name__, self.cls)
        return self.cls

    def __exit__(self, *_: object) -> None:
        for name in self.added:
            del sys.modules[name]


def write_lightning_checkpoint(path: Path, state: dict[str, torch.Tensor], heads: int, transform: str = "clip") -> Path:
    """A checkpoint as Lightning 1.x writes METER's: classes that are not installed, and tensors that METER does not use."""
    with (
        _ForeignModule("foreign_config.containers", "ReadOnlyDict", dict) as config_type,
        _ForeignModule("foreign_lightning.callbacks", "ModelCheckpoint", object) as callback,
    ):
        extra = {name: torch.zeros(shape) for name, shape in NOT_METERS.items()}
        config = config_type(num_heads=heads, tokenizer="roberta-base", val_transform_keys=[transform])
        content = {
            "state_dict": extra | state,
            "callbacks": {callback: {"best": torch.tensor(0.77)}},
            "hyper_parameters": {"config": config},
        }
        torch.save(content, path)
    return path


@pytest.fixture(scope="session")
def generate_state() -> Callable[[Path], dict[str, torch.Tensor]]:
    """`generated_state`, for tests that build a checkpoint of their own."""
    return generated_state


@dataclass(frozen=True)
class Golden:
    """A reference model and the reference's outputs for its cases."""

    name: str
    folder: Path
    checkpoint: Path

    @cached_property
    def content(self) -> dict[str, Any]:
        return json.loads((self.folder / "cases.json").read_text())

    @property
    def cases(self) -> list[dict[str, Any]]:
        return self.content["cases"]

    @property
    def image_size(self) -> int:
        return self.content["config"]["image_size"]

    @cached_property
    def expected(self) -> dict[str, NDArray]:
        with np.load(self.folder / "expected.npz") as arrays:
            return dict(arrays)

    @cached_property
    def answers(self) -> Path:
        path = self.checkpoint.with_name("answers.json")
        path.write_text(json.dumps(self.content["labels"]))
        return path

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"

    def image(self, case: int) -> Path:
        return self.folder / self.cases[case]["image"]

    @cached_property
    def explainer(self) -> Explainer:
        with pytest.warns(UserWarning, match="left out"):
            return xai.load(self.checkpoint, tokenizer=self.tokenizer, answers=self.answers, image_size=self.image_size)

    @property
    def cli_options(self) -> list[str]:
        files = ["--model", str(self.checkpoint), "--tokenizer", str(self.tokenizer), "--answers", str(self.answers)]
        return [*files, "--image-size", str(self.image_size)]


@pytest.fixture(scope="session")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Golden]:
    """The golden set of a name, made once."""
    made: dict[str, Golden] = {}

    def make(name: str) -> Golden:
        if name not in made:
            folder = DATA / name
            heads = json.loads((folder / "cases.json").read_text())["config"]["heads"]
            path = tmp_path_factory.mktemp(name) / "meter.ckpt"
            made[name] = Golden(name, folder, write_lightning_checkpoint(path, generated_state(folder), heads))
        return made[name]

    return make


@pytest.fixture(scope="session", params=["tiny", "tiny_resized"])
def golden(request: pytest.FixtureRequest, goldens: Callable[[str], Golden]) -> Golden:
    """Each golden set in turn."""
    return goldens(request.param)


@pytest.fixture(scope="session")
def tiny(goldens: Callable[[str], Golden]) -> Golden:
    """The golden set that also holds attention, gradients and features."""
    return goldens("tiny")


@pytest.fixture(scope="session")
def family_goldens() -> Callable[[str], FamilyGolden]:
    """The golden set of a family of transformers, loaded once."""
    return functools.cache(lambda name: FamilyGolden(name, DATA / name))


@pytest.fixture(scope="session", params=["vilt_tiny", "lxmert_tiny", "visualbert_tiny"])
def family_golden(request: pytest.FixtureRequest, family_goldens: Callable[[str], FamilyGolden]) -> FamilyGolden:
    """Each of them in turn."""
    return family_goldens(request.param)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """The folder of a name, written by the first process that asks for it and read by all."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, write: Callable[[Path], object]) -> Path:
        folder = shared / name
        with locked(shared / f"{name}.lock", name, wait=True):
            if not folder.exists():
                write(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_bundle(tiny: Golden, made_once: Callable[..., Path]) -> Bundle:
    """The tiny golden model exported in both formats, with whole maps."""
    explainer = tiny.explainer
    parts = explainer.session.family, explainer.encoder.tokenizer, explainer.answers
    return read_bundle(made_once("tiny_bundle", lambda folder: export_bundle(*parts, folder, formats=FORMATS, with_maps=True)))


@pytest.fixture(scope="session")
def family_bundles(
    family_goldens: Callable[[str], FamilyGolden], made_once: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Bundle]:
    """A golden network exported in both formats with whole maps, by the command with `more` options."""

    def make(name: str, *more: str) -> Bundle:
        golden = family_goldens(name)

        def export(folder: Path) -> None:
            answers = tmp_path_factory.mktemp(name) / "answers.json"
            answers.write_text(json.dumps(golden.content["labels"]))
            options = ["--answers", str(answers), "--format", "both", "--with-maps", *more]
            found = CliRunner().invoke(main, ["export", str(golden.folder), "-o", str(folder), *options])
            assert found.exit_code == 0, found.output
            assert "arning" not in found.output

        return read_bundle(made_once("".join([name, *more, "_bundle"]), export))

    return functools.cache(make)


@pytest.fixture(scope="session")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Variant]:
    """The golden set of a variant of METER, as a user would have it, made once."""

    @functools.cache
    def make(name: str) -> Variant:
        folder, place = DATA / name, tmp_path_factory.mktemp(name)
        content, state = json.loads((folder / "cases.json").read_text()), generated_state(folder)
        (place / "answers.json").write_text(json.dumps(content["labels"]))
        if name == HUB:
            model = place / "hub"
            model.mkdir()
            shutil.copy(folder / "config.json", model)
            positions = {"meter.text_transformer.embeddings.position_ids": torch.arange(514)[None]}
            torch.save(hub_names(state) | positions, model / "pytorch_model.bin")
            return Variant(name, folder, model)
        if name == SWIN:
            import_timm()
            block = "vit_model.layers.0.blocks.1"
            state |= {f"{block}.attn.relative_position_index": torch.zeros(1, dtype=torch.int64), f"{block}.attn_mask": torch.zeros(1)}
        transform = "imagenet" if name == SWIN else "clip"
        return Variant(name, folder, write_lightning_checkpoint(place / "meter.ckpt", state, content["config"]["heads"], transform))

    return make


@pytest.fixture(scope="session", params=VARIANTS)
def variant(request: pytest.FixtureRequest, variants: Callable[[str], Variant]) -> Variant:
    """Each of them in turn."""
    return variants(request.param)


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """The folder of the large golden cases, which are no part of the project."""
    if not SHARED_GOLDEN.is_dir():
        pytest.skip(f"the large golden cases are not at {SHARED_GOLDEN}")
    return SHARED_GOLDEN


@pytest.fixture(autouse=True)
def _few_threads() -> Iterator[None]:
    """Tiny products are slower on many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
