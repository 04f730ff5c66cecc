"""Text files beside a model: lists of answers, tokenizers, and the annotations that a list is built from."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xai.tests.fuzz.material import Material, sane
from xai.tests.fuzz.mutate import damaged, dumped, mutate_json, mutate_text
from xai.tests.fuzz.oracle import Call, Case, Command, Expect


class Texts:
    """The fuzzer of text files, with the tiny checkpoint."""

    name = "texts"

    def __init__(self, material: Material) -> None:
        self.material = material
        self.kinds: tuple[Callable[[random.Random, Path], Case], ...] = (self.answers, self.tokenizer, self.annotations)

    def case(self, rng: random.Random, folder: Path) -> Case:
        return rng.choice(self.kinds)(rng, folder)

    def answers(self, rng: random.Random, folder: Path) -> Case:
        names = [f"answer{i}" for i in range(17)]
        base: Any = names if rng.random() < 0.5 else {str(i): name for i, name in enumerate(names)}
        raw = dumped(base)
        if rng.random() < 0.5:
            content, what = mutate_json(rng, base)
            raw = dumped(content)
        else:
            raw, what = rng.choice((mutate_text, damaged))(rng, raw)
        path = folder / rng.choice(("names.json", "names.txt"))
        if path.suffix == ".txt":
            raw = "\n".join(names).encode() + b"\n"
            changes = {
                "a form feed": raw.replace(b"3", b"\x0c", 1),
                "NEL": raw.replace(b"3", "\u0085".encode(), 1),
                "last lines blank": raw + b"\n\n",
                "CR LF": raw.replace(b"\n", b"\r\n"),
                "a BOM": b"\xef\xbb\xbf" + raw,
            }
            what = rng.choice(list(changes))
            raw = changes[what]
        path.write_bytes(raw)
        expect = Expect.SAME if what in ("last lines blank", "CR LF", "a BOM", "blank lines") else Expect.EITHER
        call = Call(
            "xai.load(tiny, answers=...)", lambda: self.material.explain_tiny(self.material.tiny, self.material.tiny_tokenizer, path)
        )
        return Case(f"{path.name} · {what}", expect, call, self.material.tiny_numbers, (path.name,), sane=sane)

    def tokenizer(self, rng: random.Random, folder: Path) -> Case:
        raw = self.material.tiny_tokenizer.read_bytes()
        if rng.random() < 0.7:
            content, what = mutate_json(rng, json.loads(raw))
            raw = dumped(content)
        else:
            raw, what = rng.choice((mutate_text, damaged))(rng, raw)
        path = folder / "tokenizer.json"
        path.write_bytes(raw)
        material = self.material
        call = Call("xai.load(tiny, tokenizer=...)", lambda: material.explain_tiny(material.tiny, path, material.tiny_answers))
        return Case(f"tokenizer.json · {what}", Expect.EITHER, call, material.tiny_numbers, (path.name, "question"), sane=sane)

    def annotations(self, rng: random.Random, folder: Path) -> Case:
        """What `xai answers build` reads."""
        raw = dumped({"annotations": [{"multiple_choice_answer": name} for name in ("red", "Blue", "2") for _ in range(3)]}, indent=1)
        if rng.random() < 0.6:
            content, what = mutate_json(rng, json.loads(raw))
            raw = dumped(content)
        else:
            raw, what = rng.choice((mutate_text, damaged))(rng, raw)
        (folder / "train.json").write_bytes(raw)
        command = ("answers", "build", "train.json", "-o", "out.json", "--min-count", "2")

        def numbers(_: str) -> Any:
            return json.loads((folder / "out.json").read_text()) if (folder / "out.json").exists() else None

        run = Command(command, numbers)
        return Case(f"annotations · {what}", Expect.EITHER, run, ["red", "blue", "2"], ("train.json",), ("out.json",), sane=names_only)


def names_only(found: Any) -> str | None:
    """What is wrong with a list of names, if anything."""
    return None if isinstance(found, list) and all(isinstance(name, str) for name in found) else f"it wrote {found!r:.60}"
