"""Files of box features, and what is given in their place, for a model that looks at boxes."""

from __future__ import annotations

import base64
import io
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai.tests.fuzz.images import of_command
from xai.tests.fuzz.material import BOX_QUESTION, LXMERT, METHODS, SIZE, Material, sane
from xai.tests.fuzz.mutate import damaged, mutate_text
from xai.tests.fuzz.oracle import Call, Case, Command, Expect

UNREAD = ("objects_id", "objects_conf", "attrs_id", "attrs_conf")
"""Columns of a TSV that nothing reads."""


class BoxFiles:
    """The fuzzer of box features, with the tiny LXMERT."""

    name = "boxes"

    def __init__(self, material: Material) -> None:
        self.material = material
        kinds = (self.arrays, self.arrays, self.npz, self.npz, self.cells, self.cells, self.tsv, self.rows, self.no_file, self.call)
        self.kinds: tuple[Callable[[random.Random, Path], Case], ...] = kinds

    def case(self, rng: random.Random, folder: Path) -> Case:
        return rng.choice(self.kinds)(rng, folder)

    def arrays(self, rng: random.Random, folder: Path) -> Case:
        """An archive that is whole, with other arrays in it."""
        features, boxes = self.material.boxes
        nan, infinite, flipped, outside = features.copy(), boxes.copy(), boxes.copy(), boxes.copy()
        nan[3, 5], infinite[7, 1] = np.nan, rng.choice((np.inf, -np.inf))
        row = rng.randrange(len(boxes))
        flipped[row] = boxes[row, [2, 1, 0, 3]]
        outside[row, rng.randrange(2)], outside[row, 2 + rng.randrange(2)] = -0.1, 1.1
        same, refused, either = Expect.SAME, Expect.REFUSED, Expect.EITHER
        found: dict[str, tuple[dict[str, Any], Expect]] = {
            "float64": ({"features": features.astype(float), "boxes": boxes.astype(float)}, same),
            "big endian": ({"features": features.astype(">f4"), "boxes": boxes.astype(">f8")}, same),
            "Fortran": ({"features": np.asfortranarray(features), "boxes": np.asfortranarray(boxes)}, same),
            "more arrays": ({"features": features, "boxes": boxes, "objects_id": np.arange(9)}, same),
            "an object beside": ({"features": features, "boxes": boxes, "info": np.array({"a": 1}, dtype=object)}, same),
            "float16": ({"features": features.astype("f2"), "boxes": boxes.astype("f2")}, either),
            "integers": ({"features": (features * 9).astype("i8"), "boxes": boxes}, either),
            "no box": ({"features": features[:0], "boxes": boxes[:0]}, either),
            "one box": ({"features": features[:1], "boxes": boxes[:1]}, either),
            "a box without area": ({"features": features, "boxes": boxes[:, [0, 1, 0, 1]]}, either),
            "equal boxes": ({"features": np.repeat(features[:1], 9, 0), "boxes": np.repeat(boxes[:1], 9, 0)}, either),
            "features of 0": ({"features": 0 * features, "boxes": boxes}, either),
            "huge features": ({"features": features * 1e30, "boxes": boxes}, either),
            "tiny features": ({"features": features * 1e-38, "boxes": boxes}, either),
            "900 boxes": ({"features": np.resize(features, (900, 32)), "boxes": np.resize(boxes, (900, 4))}, either),
            "NaN": ({"features": nan, "boxes": boxes}, refused),
            "infinite corners": ({"features": features, "boxes": infinite}, refused),
            "too huge features": ({"features": features.astype(float) * 1e300, "boxes": boxes}, refused),
            "corners in another order": ({"features": features, "boxes": flipped}, refused),
            "outside": ({"features": features, "boxes": outside}, refused),
            "pixels": ({"features": features, "boxes": boxes * 640}, refused),
            "transposed": ({"features": features, "boxes": boxes.T}, refused),
            "N x 5": ({"features": features, "boxes": np.c_[boxes, boxes[:, 0]]}, refused),
            "flat": ({"features": features.ravel(), "boxes": boxes}, refused),
            "a batch": ({"features": features[None], "boxes": boxes[None]}, refused),
            "fewer features": ({"features": features[1:], "boxes": boxes}, refused),
            "another width": ({"features": features[:, 1:], "boxes": boxes}, refused),
            "no features": ({"boxes": boxes}, refused), "no boxes": ({"features": features}, refused), "nothing": ({}, refused),
            "text": ({"features": features.astype(str), "boxes": boxes}, refused),
            "complex": ({"features": features + 0j, "boxes": boxes}, refused),
            "booleans": ({"features": features > 0, "boxes": boxes}, refused),
            "objects": ({"features": features.astype(object), "boxes": boxes}, refused),
            "dates": ({"features": features.astype("i8").astype("M8[s]"), "boxes": boxes}, refused),
            "records": ({"features": np.zeros(16, [("a", "f4")]), "boxes": boxes}, refused),
            "one number": ({"features": np.float32(1), "boxes": boxes}, refused),
            "too many boxes": ({"features": np.zeros((2000, 32)), "boxes": np.zeros((2000, 4))}, refused),
            "a bomb": ({"features": np.zeros((1000, 20_000)), "boxes": np.zeros((1000, 4))}, refused),
        }  # fmt: skip
        what = rng.choice(list(found))
        content, expect = found[what]
        save = np.savez_compressed if what == "a bomb" or rng.random() < 0.5 else np.savez
        save(folder / "a.npz", **content)
        return self.ask(rng, "a.npz", f"npz of {what} · ", expect)

    def npz(self, rng: random.Random, folder: Path) -> Case:
        buffer = io.BytesIO()
        (np.savez_compressed if rng.random() < 0.5 else np.savez)(buffer, **self.material.boxes._asdict())
        raw, what = damaged(rng, buffer.getvalue())
        if rng.random() < 0.1:
            raw, what = rng.choice(((b"", "empty"), (rng.randbytes(900), "noise"), (buffer.getvalue()[: rng.randrange(2000)], "cut short")))
        (folder / "a.npz").write_bytes(raw)
        return self.ask(rng, "a.npz", f"npz · {what}", Expect.EITHER)

    def lines(self) -> list[dict[str, bytes]]:
        """Three rows of a TSV; the second is that of the picture."""
        features, boxes = self.material.boxes
        size = np.array([*SIZE, *SIZE], np.float32)
        ids, sure = encode(np.zeros(len(boxes), np.int64)), encode(np.ones(len(boxes), np.float32))

        def row(name: bytes, features: Any) -> dict[str, bytes]:
            return {
                "img_id": name, "img_h": b"%d" % SIZE[1], "img_w": b"%d" % SIZE[0], "objects_id": ids, "objects_conf": sure,
                "attrs_id": ids, "attrs_conf": sure, "num_boxes": b"%d" % len(boxes),
                "boxes": encode(boxes * size), "features": encode(features),
            }  # fmt: skip

        return [row(b"before", features + 1), row(b"good", features), row(b"behind", features + 2)]

    def cells(self, rng: random.Random, folder: Path) -> Case:
        """One cell altered: of another picture's row, of a column that nothing reads, or of one that counts."""
        rows = self.lines()
        i, column = rng.randrange(3), rng.choice(list(rows[0]))
        old = rows[i][column]
        odd = (b"", b" ", b"0", b"-1", b"1e3", b"nan", b"99999999999", b"\xff\xfe", b"AAA", b"AAAA", b"*", b"=", "颜".encode(), b"x" * 5000)
        changes = {
            "replaced": rng.choice(odd), "cut": old[: rng.randrange(len(old))], "doubled": old + old, "padded": old + b"=",
            "a tab": old[:1] + b"\t" + old[1:], "a space": old[:1] + b" " + old[1:], "a line feed": old[:1] + b"\n" + old[1:],
            "damaged": damaged(rng, old)[0],
            "other numbers": encode(np.full((16, 4), rng.choice((np.nan, np.inf, 1e38, -5, 0, 3)), np.float32)),
        }  # fmt: skip
        what = rng.choice(list(changes))
        rows[i][column] = changes[what]
        harmless = b"\t" not in changes[what] and b"\n" not in changes[what]
        unread = (i != 1 and column != "img_id") or column in UNREAD
        (folder / "a.tsv").write_bytes(joined(rows))
        return self.ask(rng, "a.tsv", f"{column} of row {i} {what} · ", Expect.SAME if harmless and unread else Expect.EITHER)

    def tsv(self, rng: random.Random, folder: Path) -> Case:
        raw, what = rng.choice((mutate_text, damaged))(rng, joined(self.lines()))
        (folder / "a.tsv").write_bytes(raw)
        return self.ask(rng, "a.tsv", f"TSV · {what}", Expect.EITHER)

    def rows(self, rng: random.Random, folder: Path) -> Case:
        """Whole rows: which ones there are, how they end, and which one is named."""
        rows = self.lines()
        raw, name = joined(rows), "a.tsv"
        found: dict[str, tuple[bytes, str, Expect]] = {
            "as it is": (raw, name, Expect.SAME),
            "CR LF": (raw.replace(b"\n", b"\r\n"), name, Expect.SAME),
            "blank lines": (b"\n\n" + raw.replace(b"\n", b"\n\n"), name, Expect.SAME),
            "no line feed at the end": (joined(rows[:2])[:-1], name, Expect.SAME),
            "a header": (b"\t".join(name.encode() for name in rows[0]) + b"\n" + raw, name, Expect.SAME),
            "one row": (joined(rows[1:2]), name, Expect.SAME),
            "named": (raw, "a.tsv:good", Expect.SAME),
            "another named": (raw, "a.tsv:before", Expect.EITHER),
            "one named that is missing": (raw, "a.tsv:lost", Expect.REFUSED),
            "nothing named": (raw, "a.tsv:", Expect.REFUSED),
            "missing": (joined([rows[0], rows[2]]), name, Expect.REFUSED),
            "twice": (raw + raw, name, Expect.REFUSED),
            "a column more": (raw.replace(b"\n", b"\t\n"), name, Expect.REFUSED),
            "commas": (raw.replace(b"\t", b","), name, Expect.REFUSED),
            "empty": (b"", name, Expect.REFUSED),
            "zeros": (b"\0" * 5000, name, Expect.REFUSED),
            "a long line": (b"x" * 70_000_000, name, Expect.REFUSED),
        }
        what = rng.choice(list(found))
        content, name, expect = found[what]
        (folder / "a.tsv").write_bytes(content)
        return self.ask(rng, name, f"TSV {what} · ", expect)

    def no_file(self, rng: random.Random, folder: Path) -> Case:
        """Names behind which no box features lie."""
        (folder / "folder").mkdir()
        (folder / "loop.npz").symlink_to("loop.npz")
        (folder / "a.png").write_bytes(b"x")
        os.mkfifo(folder / "pipe.npz")
        name = rng.choice(
            ("missing.npz", "folder", "loop.npz", "a.png", "pipe.npz", "/dev/null", "/dev/zero", "/proc/self/mem", "x" * 300 + ".npz",
             "a/" * 3000, " ", "~", "\n", "%s", "\udcff.tsv", "C:\\a.npz", "http://x/a.npz", "/", ".", "*.npz", "--.npz",
             "missing.tsv:good", ".tsv:good")
        )  # fmt: skip
        return self.ask(rng, name, f"no file · {name!r:.30}", Expect.REFUSED)

    def call(self, rng: random.Random, folder: Path) -> Case:
        """Things that are no box features, and arrays that lie otherwise in memory."""
        features, boxes = self.material.boxes
        frozen = features.copy()
        frozen.setflags(write=False)
        same, refused = Expect.SAME, Expect.REFUSED
        found: dict[str, tuple[Any, Expect]] = {
            "a tuple": ((features, boxes), same), "frozen": ((frozen, boxes), same), "a view": ((features[::-1][::-1], boxes), same),
            "strided": ((np.repeat(features, 2, 1)[:, ::2], boxes), same),
            "a subclass": ((features.view(np.recarray), boxes), Expect.EITHER),
            "masked": ((np.ma.masked_array(features, mask=features > 0.5), boxes), refused),
            "lists": ((features.tolist(), boxes.tolist()), refused), "a list": ([features, boxes], refused),
            "tensors": ((torch.from_numpy(features.copy()), torch.from_numpy(boxes.copy())), refused),
            "three": ((features, boxes, boxes), refused), "one array": (features, refused), "a number": (7, refused),
            "True": (True, refused),
            "swapped": ((boxes, features), refused), "a dictionary": ({"features": features, "boxes": boxes}, refused),
            "None twice": ((None, None), refused), "bytes": (b"x", refused), "a NUL": ("a\0.npz", refused),
            "an object": (object(), refused),
        }  # fmt: skip
        what = rng.choice(list(found))
        given, expect = found[what]
        run = Call(f"explain(..., boxes={what})", lambda: self.material.explain_boxes(given))
        return Case(f"{what} · ", expect, run, self.material.box_numbers, sane=sane)

    def ask(self, rng: random.Random, name: str, what: str, expect: Expect) -> Case:
        """By the library beside a picture, mostly; by the command, which loads the model anew."""
        expected = self.material.box_numbers
        if rng.random() < 0.97:
            run = Call(f"explain(..., boxes={name!r:.80})", lambda: self.material.explain_boxes(name))
            return Case(what, expect, run, expected, sane=sane)
        methods = [f"-m{method}" for method in METHODS]
        options = ["--model", str(LXMERT), "--threads=1", "--json=-", f"--boxes={name}", "--", str(self.material.png), BOX_QUESTION]
        return Case(what, expect, Command(("explain", *methods, *options), of_command), expected, sane=sane)


def encode(array: Any) -> bytes:
    return base64.b64encode(np.ascontiguousarray(array).tobytes())


def joined(rows: list[dict[str, bytes]]) -> bytes:
    """The text of a TSV."""
    return b"".join(b"\t".join(row.values()) + b"\n" for row in rows)
