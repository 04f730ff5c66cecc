"""Bundles of which a file, the manifest, or both were changed; hashes are renewed where the change would be seen by them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xai.runtime.bundle.manifest import HASH, MANIFEST, hash_content
from xai.tests.fuzz.images import of_command
from xai.tests.fuzz.material import METHODS, QUESTION, Material, sane
from xai.tests.fuzz.mutate import damaged, dumped, mutate_json, mutate_text
from xai.tests.fuzz.oracle import Case, Command, Expect, nothing

COLOURS = ("picture.mean", "picture.std", "model.picture.mean", "model.picture.std")
"""Fields of a manifest that are numbers like any other: no graph tells what they were."""
SEALED = 0.75
"""Share of the changed manifests whose own hash is renewed, so that what is checked behind it is reached."""


def renew(bundle: Path) -> None:
    """Make the manifest say the hashes and lengths of the files as they are now, and its own hash."""
    path = bundle / MANIFEST
    content = json.loads(path.read_bytes())
    for name, record in content["files"].items():
        if (bundle / name).is_file():
            raw = (bundle / name).read_bytes()
            record |= {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
    path.write_bytes(dumped(sealed(content), indent=1))


def sealed(content: Any) -> Any:
    """A manifest with the hash of its content; anything but an object as it is."""
    return {**content, HASH: hash_content(content)} if isinstance(content, dict) else content


class _OfBundles:
    """What both fuzzers share: a copy of the demo's bundle, and who reads it."""

    def __init__(self, material: Material) -> None:
        self.material = material

    def read(self, rng: random.Random, what: str, expect: Expect, *names: str, verify: float = 0.03, numbers: bool = True) -> Case:
        """`explain`, sometimes `inspect`, which runs nothing, and seldom `verify`, which runs everything."""
        expected = self.material.bundle_numbers  # made before the case, in its own time
        way = rng.choices(("explain", "inspect", "verify"), (0.8, 0.17, verify))[0]
        names = (*names, "bundle")
        if way == "explain":
            methods = (f"-m{method}" for method in METHODS)
            command = ("explain", "--model=bundle", *methods, "--threads=1", "--json=-", str(self.material.png), QUESTION)
            return Case(f"explain: {what}", expect, Command(command, of_command), expected if numbers else None, names, sane=sane)
        weaker = expect if expect is Expect.REFUSED and way == "verify" else Expect.EITHER
        return Case(f"{way}: {what}", weaker, Command((way, "bundle"), nothing), None, names)


class Manifests(_OfBundles):
    """The fuzzer of manifests."""

    name = "manifests"

    def case(self, rng: random.Random, folder: Path) -> Case:
        bundle = self.material.copy_bundle(folder)
        path = bundle / MANIFEST
        raw = path.read_bytes()
        content = json.loads(raw)
        change = rng.choices(("value", "graphs", "model", "text", "damage"), (5, 3, 2, 2, 1))[0]
        if change in ("text", "damage"):
            changed, what = (mutate_text if change == "text" else damaged)(rng, raw)
            path.write_bytes(changed)
            return self.read(rng, f"manifest, {change} · {what}", Expect.FAITHFUL, MANIFEST)
        old = hash_content(content)
        if change == "value":
            content, what = mutate_json(rng, content)
        elif change == "model":
            content["model"], what = mutate_json(rng, content["model"])
        else:
            what = self.swap(rng, content["graphs"]) if rng.random() < 0.3 else ""
            if not what:
                content["graphs"], what = mutate_json(rng, content["graphs"])
        if rng.random() < SEALED:
            content, kind = sealed(content), "hash renewed"
            expect = Expect.EITHER if what.startswith(COLOURS) else Expect.FAITHFUL
        else:
            kind = "hash kept"
            same = isinstance(content, dict) and content.get(HASH) == old == hash_content(content)
            expect = Expect.SAME if same else Expect.REFUSED
        path.write_bytes(dumped(content, indent=1))
        return self.read(rng, f"manifest, {change}, {kind} · {what}", expect, MANIFEST)

    def swap(self, rng: random.Random, graphs: dict[str, Any]) -> str:
        """Give one graph the tensors of another."""
        one, other = rng.sample(sorted(graphs), 2)
        graphs[one], graphs[other] = graphs[other], graphs[one]
        return f"graphs {one} and {other} swapped"


class Bundles(_OfBundles):
    """The fuzzer of the files of a bundle."""

    name = "bundles"

    def __init__(self, material: Material) -> None:
        super().__init__(material)
        kinds = (self.altered, self.missing, self.added, self.swapped, self.graph, self.graph, self.weights, self.tokenizer, self.tokenizer,
                 self.answers, self.parity)  # fmt: skip
        self.kinds: tuple[Callable[[random.Random, Path], Case], ...] = kinds

    def case(self, rng: random.Random, folder: Path) -> Case:
        return rng.choice(self.kinds)(rng, self.material.copy_bundle(folder))

    def names(self, bundle: Path) -> list[str]:
        return sorted(path.name for path in bundle.iterdir() if path.name != MANIFEST)

    def altered(self, rng: random.Random, bundle: Path) -> Case:
        """A file that is not the one that the manifest describes."""
        name = rng.choice(self.names(bundle))
        raw = (bundle / name).read_bytes()
        changed, what = damaged(rng, raw)
        (bundle / name).write_bytes(changed)
        return self.read(rng, f"altered, hash kept · {name}, {what}", Expect.REFUSED if changed != raw else Expect.SAME, name)

    def missing(self, rng: random.Random, bundle: Path) -> Case:
        name = rng.choice((*self.names(bundle), MANIFEST))
        path = bundle / name
        what = rng.choice(("gone", "a folder", "a link", "a hard link", "empty", "called otherwise", "a pipe"))
        if what == "called otherwise":
            path.rename(path.with_name(name.upper()))
        elif what in ("a link", "a hard link"):
            path.rename(bundle.parent / name)
            (path.symlink_to if what == "a link" else path.hardlink_to)(bundle.parent / name)
        else:
            path.unlink()
        if what == "a folder":
            path.mkdir()
        elif what == "empty":
            path.touch()
        elif what == "a pipe":
            os.mkfifo(path)
        return self.read(rng, f"a file is {what} · {name}", Expect.REFUSED, name)

    def added(self, rng: random.Random, bundle: Path) -> Case:
        name = rng.choice(("graphs.pt", "x", ".hidden", "maps.onnx", "evidence.onnx.bak", "pickle.pkl", "Manifest.json", "颜", "\udcff"))
        if rng.random() < 0.8:
            (bundle / name).write_bytes(b"x")
        else:
            (bundle / name).mkdir()
        return self.read(rng, f"a file added · {name!r}", Expect.REFUSED, name, repr(name))

    def swapped(self, rng: random.Random, bundle: Path) -> Case:
        """Files of other kinds under each other's names, hashes renewed."""
        one, other = rng.sample(self.names(bundle), 2)
        (bundle / one).rename(bundle / "x")
        (bundle / other).rename(bundle / one)
        (bundle / "x").rename(bundle / other)
        renew(bundle)
        return self.read(rng, f"files swapped, hashes renewed · {one} and {other}", Expect.FAITHFUL, one, other)

    def graph(self, rng: random.Random, bundle: Path) -> Case:
        """Bytes of a graph, hash renewed: whatever ONNX Runtime says of it is one line."""
        name = rng.choice([name for name in self.names(bundle) if name.endswith(".onnx")])
        changed, what = damaged(rng, (bundle / name).read_bytes())
        if rng.random() < 0.1:
            changed, what = rng.choice(((b"", "empty"), (rng.randbytes(1000), "garbage"), (changed[: len(changed) // 2], "cut")))
        (bundle / name).write_bytes(changed)
        renew(bundle)
        return self.read(rng, f"graph altered, hash renewed · {name}, {what}", Expect.EITHER, name, verify=0.02)

    def weights(self, rng: random.Random, bundle: Path) -> Case:
        path = bundle / "weights.bin"
        raw = path.read_bytes()
        changed, what = damaged(rng, raw)
        if rng.random() < 0.3:
            changed, what = rng.choice(
                ((b"", "empty"), (raw[: rng.randrange(len(raw))], "cut"), (b"\xff" * len(raw), "NaN everywhere"), (raw + raw, "twice"))
            )
        path.write_bytes(changed)
        renew(bundle)
        return self.read(rng, f"weights altered, hash renewed · {what}", Expect.EITHER, path.name)

    def tokenizer(self, rng: random.Random, bundle: Path) -> Case:
        return self.json_file(rng, bundle, "tokenizer.json", Expect.EITHER)

    def answers(self, rng: random.Random, bundle: Path) -> Case:
        return self.json_file(rng, bundle, "answers.json", Expect.EITHER)

    def json_file(self, rng: random.Random, bundle: Path, name: str, expect: Expect) -> Case:
        path = bundle / name
        raw = path.read_bytes()
        if rng.random() < 0.7:
            content, what = mutate_json(rng, json.loads(raw))
            raw = dumped(content)
        else:
            raw, what = rng.choice((mutate_text, damaged))(rng, raw)
        path.write_bytes(raw)
        renew(bundle)
        return self.read(rng, f"{name} altered, hash renewed · {what}", expect, name)

    def parity(self, rng: random.Random, bundle: Path) -> Case:
        """The stored trial: `verify` reads it, `explain` does not."""
        path = bundle / "parity.npz"
        with np.load(path) as arrays:
            content = dict(arrays)
        name = rng.choice(sorted(content))
        what = rng.choice(("gone", "of another type", "of another shape", "NaN", "objects", "bytes", "huge numbers"))
        array = content[name]
        changes: dict[str, Any] = {
            "of another type": array.astype(rng.choice(("float16", "int8", "U5", "complex64"))),
            "of another shape": array.ravel()[:-1],
            "NaN": np.full(array.shape, np.nan),
            "objects": np.array([None, {}], dtype=object),
            "huge numbers": np.full(array.shape, 10**18),
        }
        if what == "gone":
            del content[name]
        elif what != "bytes":
            content[name] = changes[what]
        buffer = io.BytesIO()
        with np.errstate(all="ignore"):
            np.savez(buffer, **content)
        raw = damaged(rng, path.read_bytes())[0] if what == "bytes" else buffer.getvalue()
        path.write_bytes(raw)
        renew(bundle)
        if rng.random() < 0.6:
            return self.read(rng, f"parity.npz altered, hash renewed · {name} {what}", Expect.SAME, path.name, verify=0)
        run = Command(("verify", "bundle"), nothing)
        return Case(f"verify: parity.npz altered · {name} {what}", Expect.EITHER, run, None, ("parity.npz", "bundle"))
