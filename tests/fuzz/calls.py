"""Arguments of the library's functions: of the wrong type, out of range, or NumPy's word for the right one."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import xai
from xai.models.load import ONLY_CHECKPOINTS
from xai.tests.fuzz.material import QUESTION, TINY_QUESTION, Material, explained, numbers_of, sane
from xai.tests.fuzz.oracle import Call, Case, Expect

EITHER, REFUSED, SAME = Expect.EITHER, Expect.REFUSED, Expect.SAME
NOTHING: tuple[tuple[Any, Expect], ...] = ((b"x", REFUSED), (object(), REFUSED), ({}, REFUSED), (float("nan"), REFUSED))

LONG = "word " * 10**5
"""A question that no model takes whole."""

EXPLAIN: dict[str, tuple[tuple[Any, Expect], ...]] = {
    "question": ((None, REFUSED), (7, REFUSED), ([QUESTION], REFUSED), ("", REFUSED), (" \n", REFUSED), (LONG, REFUSED),
    ("\ud800", EITHER), ("\0", EITHER),
                 ("颜色", EITHER), (np.str_(QUESTION), SAME), (f" {QUESTION} ", EITHER), ("🙂", EITHER), ("</s><s>", EITHER), (True,
                 REFUSED), *NOTHING),
    "method": ((None, REFUSED), (7, REFUSED), ("", REFUSED), ("lime", REFUSED), ("ROLLOUT", EITHER), (["rollout"], EITHER),
    (np.str_("rollout"), SAME), ("all", REFUSED), ("rollout@all", EITHER), ("rollout@first", EITHER), ("rollout@", REFUSED), *NOTHING),
    "target": ((None, SAME), (-1, REFUSED), (10**30, REFUSED), (24, REFUSED), (3, EITHER), (np.int64(3), EITHER), (True, EITHER), (3.0,
    EITHER), ("", REFUSED), ("nothing", REFUSED),
               ([3], EITHER), (np.array(3), EITHER), (np.array([3]), EITHER), ("red", EITHER), ("\uff12", EITHER), ("9" * 5000, REFUSED),
               *NOTHING),
    "versus": ((None, SAME), (-1, REFUSED), (24, REFUSED), (3, REFUSED), ("red", REFUSED), ("nothing", REFUSED), *NOTHING),
    "as_published": ((True, SAME), (False, SAME), (None, EITHER), ("x", EITHER)),
    "top_k": ((0, REFUSED), (-3, REFUSED), (None, REFUSED), (1.5, REFUSED), ("3", REFUSED), (10**30, EITHER), (np.int64(5), SAME), (5.0,
    EITHER), (True, EITHER), (100, EITHER), *NOTHING),
    "seed": ((-1, EITHER), (None, REFUSED), (1.5, REFUSED), ("0", REFUSED), (2**64, EITHER), (10**30, EITHER), (np.int64(3), SAME),
    (np.uint8(255), SAME), ([1], EITHER), *NOTHING),
    "truncate": ((1, SAME), (0, SAME), (None, EITHER), ("x", EITHER), (np.bool_(True), SAME)),
}  # fmt: skip
"""Parameter of `explain` -> values, what comes of each, as numbers of the same call without it. A list has one for each pair."""

LOAD: dict[str, tuple[tuple[Any, Expect], ...]] = {
    "model": ((7, REFUSED), (1.5, REFUSED), ([], REFUSED), ("", REFUSED), (Path(), REFUSED), (True, REFUSED), ("a\0b", REFUSED),
    ("x" * 5000, REFUSED), ("nowhere", REFUSED), *NOTHING),
    "tokenizer": ((7, REFUSED), ("", REFUSED), ("nowhere", REFUSED), ("a\0b", REFUSED), (Path("x" * 300), REFUSED), ([], EITHER),
    *NOTHING[:2]),
    "answers": ((7, REFUSED), ("", REFUSED), ("nowhere", REFUSED), ("a\0b", REFUSED), (["red"], REFUSED), ([], EITHER), *NOTHING[:2]),
    "image_size": ((0, REFUSED), (-96, REFUSED), (95, REFUSED), (96.0, EITHER), ("96", EITHER), (None, EITHER), (True, REFUSED), (10**30,
    REFUSED), (np.int64(96), EITHER), *NOTHING),
    "heads": ((0, REFUSED), (-4, REFUSED), (3, REFUSED), (8, REFUSED), (4, SAME), (4.0, REFUSED), ("4", REFUSED), (None, SAME),
    (True, REFUSED), (10**30, REFUSED), (np.int64(4), SAME), *NOTHING),
    "session": ((7, REFUSED), ("", REFUSED), ("ONNX", EITHER), ("x", REFUSED), (["onnx"], REFUSED), ("onnx", SAME), (None, SAME), *NOTHING),
    "provider": ((None, REFUSED), (7, REFUSED), ("", REFUSED), ("CPU", EITHER), ("cuda", EITHER), ("cuda:9", REFUSED), ("x", REFUSED),
    (["cpu"], REFUSED), ("cpu", SAME), *NOTHING),
    "threads": ((0, REFUSED), (-1, REFUSED), (1.5, REFUSED), ("2", REFUSED), (None, SAME), (10**30, REFUSED), (2**31, REFUSED),
    (1025, REFUSED), (np.int64(1), SAME), (True, EITHER), *NOTHING),
    "trust": ((None, EITHER), ("x", EITHER), (1, SAME)),
    "allow_fallback": ((None, EITHER), ("x", EITHER), (1, SAME)),
}  # fmt: skip
"""Parameter of `xai.load` -> values; those of `ONLY_CHECKPOINTS` go with a checkpoint, the others with the demo."""

PATHS = ((None, REFUSED), (7, REFUSED), ("", REFUSED), ("a.gif", REFUSED), ("no/such/a.png", REFUSED), ("x" * 300 + ".png", REFUSED),
("a\0.png", REFUSED), (".png", EITHER),
         ("a.json", EITHER), ("a.npz", EITHER), ("folder.png", REFUSED), ("/proc/x.json", REFUSED), ("颜.html", EITHER), ("\udcff.json",
         EITHER), (b"a.json", EITHER))  # fmt: skip


class Calls:
    """The fuzzer of calls."""

    name = "calls"

    def __init__(self, material: Material) -> None:
        self.material = material
        self.kinds: tuple[Callable[[random.Random, Path], Case], ...] = (
            self.explain,
            self.explain,
            self.explain,
            self.load,
            self.load,
            self.many,
            self.save,
            self.shown,
        )

    def case(self, rng: random.Random, folder: Path) -> Case:
        return rng.choice(self.kinds)(rng, folder)

    def one(self, **given: Any) -> Any:
        question = given.pop("question", QUESTION)
        return numbers_of(self.material.explainer.explain(self.material.png, question, **{"method": "rollout"} | given).to_json())

    def explain(self, rng: random.Random, folder: Path) -> Case:
        names = rng.sample(list(EXPLAIN), rng.choice((1, 1, 1, 2)))
        given, expects = {}, []
        for name in names:
            given[name], expect = rng.choice(EXPLAIN[name])
            expects.append(expect)
        shown = ", ".join(f"{name}={value!r:.60}" for name, value in given.items())
        if given.get("question") == LONG and given.get("truncate") in (1, "x"):
            expects.remove(REFUSED)  # it is cut
            expects.append(EITHER)
        expect = REFUSED if REFUSED in expects else EITHER if EITHER in expects else SAME
        what = f"explain({', '.join(names)}) · {shown}" if len(names) > 1 else f"explain({shown}) · "
        return Case(
            what,
            expect,
            Call(f"xai.load().explain(image, question, method='rollout', {shown})", lambda: self.one(**given)),
            self.one(),
            sane=sane,
        )

    def load(self, rng: random.Random, folder: Path) -> Case:
        name = rng.choice(list(LOAD))
        value, expect = rng.choice(LOAD[name])
        material = self.material
        checkpoint = {"model": material.tiny, "tokenizer": material.tiny_tokenizer, "image_size": 96, "answers": material.tiny_answers}
        beside = checkpoint if name in ONLY_CHECKPOINTS else {"threads": 1}
        given = beside | {name: value}
        shown = ", ".join(f"{key}={item!r:.60}" for key, item in given.items())

        def numbers() -> Any:
            explainer = xai.load(**given)
            if beside is not checkpoint:
                return numbers_of(explainer.explain(material.png, QUESTION, method="rollout").to_json())
            return explained(explainer, material.tiny_image, TINY_QUESTION)

        expected = material.tiny_numbers if beside is checkpoint else self.one()
        return Case(f"load({name}={value!r:.60}) · ", expect, Call(f"xai.load({shown})", numbers), expected, sane=sane)

    def many(self, rng: random.Random, folder: Path) -> Case:
        """What is given in place of several methods or pairs."""
        explainer, image = self.material.explainer, self.material.png
        pair = (image, QUESTION)
        methods: tuple[tuple[Any, Expect], ...] = (
            ("rollout", EITHER), ("all", EITHER), ([], EITHER), (None, REFUSED), ([None], REFUSED), ([7], REFUSED), (7, REFUSED),
            (["rollout", "rollout"], EITHER), (iter(["rollout"]), SAME),
            ({"rollout"}, EITHER), (["all"], EITHER), (("rollout",), SAME), (np.array(["rollout"]), EITHER), ({"rollout": 1}, EITHER),
        )  # fmt: skip
        pairs: tuple[tuple[Any, Expect], ...] = (
            (None, REFUSED), ([()], REFUSED), ([(image,)], REFUSED), ([(image, QUESTION, 1)], REFUSED), ("ab", REFUSED), ([image],
            REFUSED), ([(None, QUESTION)], REFUSED), (7, REFUSED),
            ([pair], SAME), ((pair,), SAME), (iter([pair]), EITHER), ([list(pair)], SAME), ([(QUESTION, image)], REFUSED), ([pair, (image,
            None)], REFUSED), ({image: QUESTION}, REFUSED),
            ([pair, pair], EITHER), (np.array([pair], dtype=object), EITHER), ([], EITHER),
        )  # fmt: skip
        if rng.random() < 0.5:
            value, expect = rng.choice(methods)
            text, make = "explain_methods(image, question", lambda: explainer.explain_methods(image, QUESTION, value)
        else:
            value, expect = rng.choice(pairs)
            text, make = "explain_batch(pairs", lambda: [found[0] for found in explainer.explain_batch(value, ["rollout"])]

        def numbers() -> Any:
            found = [numbers_of(one.to_json()) for one in make()]
            return found[0] if len(found) == 1 else found

        return Case(
            f"{text.partition('(')[0]}({value!r:.80}) · ", expect, Call(f"{text} = {value!r:.200})", numbers), self.one(), sane=sane
        )

    def save(self, rng: random.Random, folder: Path) -> Case:
        value, expect = rng.choice(PATHS)
        (folder / "folder.png").mkdir()
        explanation = self.material.explainer.explain(self.material.png, QUESTION, "rollout")
        shown = f"save({value!r:.60})"
        return Case(f"{shown} · ", expect, Call(f"explanation.{shown}", lambda: explanation.save(value)), None, writes=("*",))

    def shown(self, rng: random.Random, folder: Path) -> Case:
        """What a notebook does with an explanation."""
        why, again = (self.material.explainer.explain(self.material.png, QUESTION, "rollout") for _ in range(2))
        found: dict[str, Callable[[], Any]] = {
            "why == again": lambda: bool(why == again),
            "why != 7": lambda: bool(why != 7),
            "why in [again]": lambda: why in [again],
            "repr(why)": lambda: _short(repr(why)),
            "str(why)": lambda: _short(str(why)),
            "copy.deepcopy(why)": lambda: numbers_of(copy.deepcopy(why).to_json()) == numbers_of(why.to_json()),
            "pickle": lambda: numbers_of(pickle.loads(pickle.dumps(why)).to_json()) == numbers_of(why.to_json()),
            "xai.__all__": lambda: all(hasattr(xai, name) for name in xai.__all__),
        }
        what = rng.choice(list(found))
        return Case(f"{what} · ", SAME, Call(what, found[what]), True)


def _short(text: str) -> bool:
    return len(text) < 1000 or f"{len(text)} characters"  # type: ignore[return-value]
