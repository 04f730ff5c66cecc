"""Data sets of one's own, as `bench perturb --data DIR` reads them: `questions.jsonl`, `valid.json`, and VQAv2's pair of files."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from xai.tests.fuzz.material import QUESTIONS, Material, command
from xai.tests.fuzz.mutate import damaged, dumped, mutate_json, mutate_text
from xai.tests.fuzz.oracle import Case, Command, Expect
from xai.tests.fuzz.results import sane_table, table

LABEL = {"red": 1.0, "blue": 0.3}
IMAGE = "COCO_val2014_000000000007"
RUN = ("bench", "perturb", "--methods", "random", "--threads", "1", "--modality", "text", "--sign", "positive", "--json", "-o", "out")


class Datasets:
    """The fuzzer of data sets: two questions about one image, in one of three forms."""

    name = "datasets"

    def __init__(self, material: Material) -> None:
        self.material = material
        self.kinds: tuple[Callable[[random.Random, Path], Case], ...] = (
            self.value,
            self.value,
            self.value,
            self.text,
            self.damage,
            self.spelling,
            self.files,
        )

    @cached_property
    def expected(self) -> dict[str, Any]:
        """The table of each form; the names of the questions differ."""
        found = {}
        for form in FORMS:
            folder = self.material.folder / form
            folder.mkdir()
            self.write(folder, form)
            found[form] = json.loads(command(*RUN[:-1], str(folder / "out"), "--data", str(folder / "data")))
            found[form] = without_data(found[form])
        return found

    def write(self, folder: Path, form: str) -> list[Path]:
        """The files of a data set in `folder/data`."""
        (folder / "data" / "val2014").mkdir(parents=True)
        shutil.copy(self.material.png, folder / "data" / "val2014" / f"{IMAGE}.png")
        paths = []
        for name, content in FORMS[form]().items():
            path = folder / "data" / name
            path.write_bytes(lines_of(content) if name.endswith("l") else dumped(content))
            paths.append(path)
        return paths

    def case(self, rng: random.Random, folder: Path) -> Case:
        self.expected  # noqa: B018 - made before the case, in its own time
        form = rng.choice(list(FORMS))
        path = rng.choice(self.write(folder, form))
        return rng.choice(self.kinds)(rng, path)

    def value(self, rng: random.Random, path: Path) -> Case:
        content = read(path)
        changed, what = mutate_json(rng, content)
        path.write_bytes(lines_of(changed) if path.suffix == ".jsonl" else dumped(changed))
        return self.perturb(rng, path, f"{path.name} · {what}", Expect.EITHER)

    def text(self, rng: random.Random, path: Path) -> Case:
        raw, what = mutate_text(rng, path.read_bytes())
        path.write_bytes(raw)
        harmless = what in ("CR LF", "blank lines", "a BOM", "trailing spaces")
        return self.perturb(rng, path, f"{path.name} text, {what} · ", Expect.SAME if harmless else Expect.EITHER)

    def damage(self, rng: random.Random, path: Path) -> Case:
        raw, what = damaged(rng, path.read_bytes())
        path.write_bytes(raw)
        return self.perturb(rng, path, f"{path.name} damaged · {what}", Expect.EITHER)

    def spelling(self, rng: random.Random, path: Path) -> Case:
        """The same content, spelled otherwise; and characters that some call the end of a line inside a string."""
        content = read(path)
        inside = rng.choice(("", "\u2028", "\u0085", "\x0c", "\u2029"))
        for entry in content if path.suffix == ".jsonl" else ():
            entry["remark"] = f"a{inside}b"
        ascii_only, indent = rng.random() < 0.5, rng.choice((None, 2))
        if path.suffix == ".jsonl":
            text = "".join(json.dumps(entry, ensure_ascii=ascii_only) + rng.choice(("\n", "\r\n", "\n\n")) for entry in content)
        else:
            text = json.dumps(content, ensure_ascii=ascii_only, indent=indent)
        path.write_text(text, encoding="utf-8", newline="")
        return self.perturb(rng, path, f"{path.name} spelled otherwise · {inside!r}", Expect.SAME)

    def files(self, rng: random.Random, path: Path) -> Case:
        """A file that is gone, a folder or a picture, an image that is broken."""
        image = path.parent / "val2014" / f"{IMAGE}.png"
        what = rng.choice(("gone", "a folder", "a picture", "twice", "no image", "a broken image", "an image that is a folder"))
        if what in ("gone", "a folder"):
            path.unlink()
        if what == "a folder":
            path.mkdir()
        if what == "a picture":
            shutil.copy(image, path)
        if what == "twice":
            shutil.copy(path, path.with_name(f"x{path.name}"))
        if what in ("no image", "an image that is a folder"):
            image.unlink()
        if what == "an image that is a folder":
            image.mkdir()
        if what == "a broken image":
            image.write_bytes(image.read_bytes()[:-500])
        names = (path.name, IMAGE, "data")
        expect = Expect.EITHER if what == "twice" else Expect.REFUSED
        return self.perturb(rng, path, f"{path.name} is {what} · " if "image" not in what else f"{what} · ", expect, names)

    def perturb(self, rng: random.Random, path: Path, what: str, expect: Expect, names: tuple[str, ...] = ()) -> Case:
        form = next(form for form, files in FORMS.items() if path.name in files())
        skip = ("--skip-broken",) if rng.random() < 0.3 else ()
        run = Command((*RUN, "--data", "data", *skip), of_run)
        names = names or (path.name, "data", "image", "question")
        return Case(what, expect, run, self.expected[form], names, ("out/",), sane=sane_table)


def read(path: Path) -> Any:
    """A file's content, a list of its lines where it has one object a line."""
    raw = path.read_bytes()
    return [json.loads(line) for line in raw.splitlines()] if path.suffix == ".jsonl" else json.loads(raw)


def lines_of(content: Any) -> bytes:
    """One object a line."""
    return b"".join(dumped(entry) + b"\n" for entry in content) if isinstance(content, list) else dumped(content)


def own() -> dict[str, Any]:
    """A folder of one's own."""
    return {
        "questions.jsonl": [
            {"image": f"val2014/{IMAGE}.png", "question": q, "label": LABEL, "question_id": i} for i, q in enumerate(QUESTIONS)
        ]
    }


def published() -> dict[str, Any]:
    """The file of the published run."""
    return {"valid.json": [{"img_id": IMAGE, "sent": q, "label": LABEL, "question_id": i} for i, q in enumerate(QUESTIONS)]}


def vqa() -> dict[str, Any]:
    """VQAv2's files."""
    answers = [{"answer": "red", "answer_id": i} for i in range(4)]
    return {
        "v2_questions.json": {
            "data_subtype": "val2014",
            "questions": [{"image_id": 7, "question": q, "question_id": i} for i, q in enumerate(QUESTIONS)],
        },
        "v2_annotations.json": {"annotations": [{"question_id": i, "answers": answers} for i in range(len(QUESTIONS))]},
    }


FORMS: dict[str, Callable[[], dict[str, Any]]] = {"own": own, "published": published, "vqa": vqa}


def of_run(stdout: str) -> Any:
    """The table of a run, without its data's name and hash."""
    found = table(stdout)
    return found and without_data(found)


def without_data(found: Any) -> Any:
    """A table without what names the data."""
    return found | {"settings": {k: v for k, v in found["settings"].items() if k not in ("data", "data_sha256")}}
