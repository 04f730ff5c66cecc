"""What the fuzzers change: one of each kind of input, whole, with its numbers. Made once for each process."""

from __future__ import annotations

import io
import json
import random
import shutil
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image

import xai
from xai.cli import main
from xai.meter import demo
from xai.meter.checkpoint import load_meter
from xai.runtime.explainer import Explainer
from xai.runtime.inputs.boxes import BoxFeatures, read_boxes
from xai.tests.conftest import DATA, generated_state, write_lightning_checkpoint

QUESTION = "What color is the circle?"
TINY_QUESTION = "t19 t18 t96"
BOX_QUESTION = "t31 t44 t9"
LXMERT = DATA / "lxmert_tiny"
METHODS = ("dsmi-grad", "rollout")
SIZE = (128, 96)


class Material:
    """Whole inputs, kept in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def picture(self) -> Image.Image:
        """RGB, of few colours, so that every lossless format can hold it; not square."""
        with Image.open(Path(xai.__file__).parent / "examples" / "scene1.png") as scene:
            small = scene.convert("RGB").resize(SIZE, Image.Resampling.NEAREST)
        return small.quantize(32, dither=Image.Dither.NONE).convert("RGB")

    @cached_property
    def grey(self) -> Image.Image:
        return self.picture.convert("L")

    @cached_property
    def explainer(self) -> Explainer:
        """The demo model, as a bundle."""
        return xai.load(threads=1)

    @cached_property
    def numbers(self) -> Any:
        """Of the picture."""
        return self.explain(self.picture)

    @cached_property
    def grey_numbers(self) -> Any:
        return self.explain(self.grey.convert("RGB"))

    def explain(self, image: Any) -> Any:
        """Numbers of an image, by the demo model."""
        return explained(self.explainer, image, QUESTION)

    @cached_property
    def png(self) -> Path:
        path = self.folder / "good.png"
        path.write_bytes(encoded(self.picture, "PNG"))
        return path

    @property
    def bundle(self) -> Path:
        return demo.BUNDLE

    def copy_bundle(self, folder: Path) -> Path:
        """A bundle of the case's own: links would be refused."""
        return Path(shutil.copytree(self.bundle, folder / "bundle"))

    @cached_property
    def bundle_numbers(self) -> Any:
        """Of the demo bundle, named as one, about `png`."""
        return explained(xai.load(self.bundle, threads=1), self.png, QUESTION)

    @cached_property
    def tiny_state(self) -> dict[str, Any]:
        """METER's own tensors only, so that loading them warns of nothing."""
        whole = write_lightning_checkpoint(self.folder / "whole.ckpt", generated_state(DATA / "tiny"), heads=4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return load_meter(whole).state_dict()

    @cached_property
    def tiny(self) -> Path:
        path = self.folder / "tiny.ckpt"
        torch.save({"state_dict": self.tiny_state, "hyper_parameters": {"config": {"num_heads": 4}}}, path)
        return path

    @cached_property
    def tiny_answers(self) -> Path:
        path = self.folder / "answers.json"
        path.write_text(json.dumps([f"answer{i}" for i in range(17)]))
        return path

    @property
    def tiny_tokenizer(self) -> Path:
        return DATA / "tiny" / "tokenizer.json"

    @property
    def tiny_image(self) -> Path:
        return DATA / "tiny" / "case0.png"

    @cached_property
    def tiny_numbers(self) -> Any:
        return self.explain_tiny(self.tiny, self.tiny_tokenizer, self.tiny_answers)

    def explain_tiny(self, checkpoint: Path, tokenizer: Path, answers: Path | None, **options: Any) -> Any:
        """Numbers of a checkpoint's answer about its first golden image."""
        explainer = xai.load(checkpoint, tokenizer=tokenizer, answers=answers, **options)
        return explained(explainer, self.tiny_image, TINY_QUESTION)

    @cached_property
    def lxmert(self) -> Explainer:
        """The tiny LXMERT, which looks at boxes."""
        return xai.load(LXMERT, threads=1)

    @cached_property
    def boxes(self) -> BoxFeatures:
        """Of a golden case, as a TSV in pixels of `SIZE` gives them."""
        found = read_boxes(LXMERT / "case0.npz")
        size = np.array([*SIZE, *SIZE], np.float32)
        return BoxFeatures(found.features, found.boxes * size / size)

    @cached_property
    def box_numbers(self) -> Any:
        """Of these boxes in `png`."""
        return self.explain_boxes(self.boxes)

    def explain_boxes(self, boxes: Any) -> Any:
        """Numbers of box features in `png`, by the tiny LXMERT."""
        found = self.lxmert.explain_methods(self.png, BOX_QUESTION, METHODS, boxes=boxes)
        return [numbers_of(one.to_json()) for one in found]

    @cached_property
    def shards(self) -> tuple[Path, Path]:
        """The two finished halves of a perturbation test of four questions."""
        for i in (1, 2):
            command(*self.perturb(i), "-o", str(self.folder / f"shard{i}"))
        return self.folder / "shard1", self.folder / "shard2"

    @staticmethod
    def perturb(shard: int) -> list[str]:
        """The command that wrote a shard, without its folder."""
        run = ["bench", "perturb", "--samples", "4", "--methods", "rollout", "--batch", "1", "--threads", "1"]
        return [*run, "--measures", "all", "--json", "--shard", f"{shard}/2"]

    @cached_property
    def table(self) -> Any:
        """The table of the whole run."""
        return json.loads(command("bench", "merge", *map(str, self.shards), "-o", str(self.folder / "merged"), "--json"))

    @cached_property
    def shard_table(self) -> Any:
        return json.loads((self.shards[0] / "table.json").read_text())

    @cached_property
    def data(self) -> Path:
        """A data set of two questions about one image."""
        folder = self.folder / "data"
        folder.mkdir()
        shutil.copy(self.png, folder / "a.png")
        entries = [{"image": "a.png", "question": q, "label": {"red": 1.0, "blue": 0.3}, "question_id": i} for i, q in enumerate(QUESTIONS)]
        (folder / "questions.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        return folder

    @cached_property
    def reports(self) -> tuple[Path, Path]:
        """Two reports of latency, with times that are the same in every process."""
        rng = random.Random("reports")
        run = ["bench", "latency", "--iterations", "6", "--warmup", "0", "--no-render", "--threads", "1"]
        command(*run, "--json", str(self.folder / "measured.json"))
        measured = json.loads((self.folder / "measured.json").read_text())
        for name in ("a", "b"):
            (self.folder / f"{name}.json").write_text(json.dumps(drawn(rng, measured)))
        return self.folder / "a.json", self.folder / "b.json"

    @cached_property
    def comparison(self) -> str:
        """What `bench compare` prints of the two."""
        return command("bench", "compare", *map(str, self.reports))


QUESTIONS = (QUESTION, "Is there a star?")


def command(*arguments: str) -> str:
    """What a command prints that must succeed."""
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    if result.exit_code:
        raise RuntimeError(f"xai {' '.join(arguments)}: {result.stderr}")
    return result.stdout


def drawn(rng: random.Random, content: Any) -> Any:
    """The same structure with other floats."""
    if isinstance(content, dict):
        return {key: drawn(rng, value) for key, value in content.items()}
    if isinstance(content, list):
        return [drawn(rng, value) for value in content]
    return round(rng.uniform(5, 15), 3) if isinstance(content, float) else content


def explained(explainer: Explainer, image: Any, question: str) -> Any:
    """Numbers of an explanation by a spectral and by another method."""
    return [numbers_of(one.to_json()) for one in explainer.explain_methods(image, question, METHODS)]


def numbers_of(content: Mapping[str, Any]) -> Any:
    """What must not change of the object that `xai explain --json` writes."""
    kept = {key: content[key] for key in ("answer", "target", "top", "token_ids", "grid" if "grid" in content else "boxes")}
    return kept | {"relevance": [[e["image_relevance"], e["text_relevance"]] for e in content["explanations"]]}


def sane(numbers: Any) -> str | None:
    """What is wrong with the numbers of explanations, if anything."""
    for one in numbers if isinstance(numbers, list) else [numbers]:
        values = np.array([v for maps in one["relevance"] for scores in maps for v in scores], dtype=float)
        if not np.isfinite(values).all():
            return "a relevance is not finite"
        shares = [answer["probability"] for answer in one["top"]]
        if not all(0 <= share <= 1 for share in shares) or sum(shares) > 1 + 1e-6 or shares != sorted(shares, reverse=True):
            return f"probabilities are {shares}"
    return None


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The file of a picture."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
