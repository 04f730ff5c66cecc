"""Folders of perturbation runs that a second process, an editor or a full disk changed, as `--resume` and `bench merge` read them."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xai.bench.perturb.seal import CHECK, seal
from xai.tests.fuzz.material import Material
from xai.tests.fuzz.mutate import damaged, dumped, mutate_json, mutate_text
from xai.tests.fuzz.oracle import Case, Command, Expect

MAPS = "report/maps/000000.js"
READ = ("run.json", "results.jsonl", MAPS)
"""The files of the first shard that are read again."""
WRITTEN = ("run.json", "results.jsonl", "status.json", "report/", "table.json", "table.md", "curves.png", "report.html")
MEASURED = (
    *("answers", "accuracies", "probabilities", "exact", "pointing", "solver", "image", "insertion", "deletion", "nothing", "groups"),
    *("target", "distances", "no_image", "no_text", "right", "size", "region", "between", "words", "subsets"),
)
"""What a line says that nothing but its checksum can vouch for."""


class Results:
    """The fuzzer of results folders: two shards of one run, of which one is changed."""

    name = "results"

    def __init__(self, material: Material) -> None:
        self.material = material
        kinds = (self.lines, self.lines, self.line, self.line, self.text, self.cut, self.run, self.run, self.both, self.maps,
        self.files,
                 self.shards)  # fmt: skip
        self.kinds: tuple[Callable[[random.Random, Path], Case], ...] = kinds

    def case(self, rng: random.Random, folder: Path) -> Case:
        for shard in self.material.shards:
            shutil.copytree(shard / "report", folder / shard.name / "report")
            for name in ("run.json", "results.jsonl"):
                shutil.copy(shard / name, folder / shard.name / name)
        return rng.choice(self.kinds)(rng, folder)

    def lines(self, rng: random.Random, folder: Path) -> Case:
        """Whole lines lost, doubled or moved."""
        path = folder / "shard1" / "results.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        others = (folder / "shard2" / "results.jsonl").read_bytes().splitlines(keepends=True)
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        doubled, swapped = list(lines), list(lines)
        doubled.insert(j, lines[i])
        swapped[i], swapped[j] = swapped[j], swapped[i]
        index = json.loads(lines[i])["index"]
        changes = {
            "a line lost": lines[:i] + lines[i + 1 :],
            "a line doubled": doubled,
            "two lines swapped": swapped,
            "all lines doubled": lines * 2,
            "the other shard's lines added": lines + others,
            "a line of the other shard for one": [*lines[:i], rng.choice(others), *lines[i + 1 :]],
            "a question lost": [line for line in lines if json.loads(line)["index"] != index],
            "the order reversed": lines[::-1],
            "a blank line": [*lines[:i], b"\n", *lines[i:]],
            "a question skipped": [
                dumped({"index": index, "skipped": "x"}) + b"\n",
                *(line for line in lines if json.loads(line)["index"] != index),
            ],
        }
        what = rng.choice(list(changes))
        path.write_bytes(b"".join(changes[what]))
        return self.read(rng, f"results.jsonl: {what}", Expect.FAITHFUL, "results.jsonl")

    def line(self, rng: random.Random, folder: Path) -> Case:
        """One field of one line; for most of them with the checksum that it should have, so that what is checked behind it is reached."""
        path = folder / "shard1" / "results.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        i = rng.randrange(len(lines))
        changed, what = mutate_json(rng, json.loads(lines[i]))
        kind, expect = "checksum kept", Expect.FAITHFUL
        if rng.random() < 0.7:
            settings = json.loads((folder / "shard1" / "run.json").read_bytes())["settings"]
            kind, changed = "checksum renewed", resealed(changed, key_of(settings))
            expect = Expect.EITHER if what.startswith(MEASURED) else Expect.FAITHFUL
        lines[i] = dumped(changed) + b"\n"
        path.write_bytes(b"".join(lines))
        return self.read(rng, f"results.jsonl line, {kind} · {what}", expect, "results.jsonl")

    def text(self, rng: random.Random, folder: Path) -> Case:
        path = folder / "shard1" / rng.choice(READ)
        raw, what = rng.choice((mutate_text, damaged))(rng, path.read_bytes())
        path.write_bytes(raw)
        return self.read(rng, f"{path.name} · {what}", Expect.FAITHFUL, path.name)

    def cut(self, rng: random.Random, folder: Path) -> Case:
        """What a kill leaves: `--resume` finishes it, `merge` refuses it."""
        path = folder / "shard1" / "results.jsonl"
        raw = path.read_bytes()
        path.write_bytes(raw[: rng.randrange(len(raw))])
        if rng.random() < 0.5:
            return self.resume("cut as by a kill", Expect.SAME, "results.jsonl")
        return self.merge("cut as by a kill", Expect.REFUSED, "results.jsonl", "shards")

    def run(self, rng: random.Random, folder: Path) -> Case:
        """One field of `run.json`; sometimes with its checksum renewed, and with those of the lines, which hang on the settings."""
        path = folder / "shard1" / "run.json"
        changed, what = mutate_json(rng, json.loads(path.read_bytes()))
        kind = rng.choice(("checksum kept", "checksum renewed", "every checksum renewed"))
        if kind != "checksum kept":
            changed = resealed(changed)
        if kind == "every checksum renewed" and isinstance(changed, dict):
            reseal_lines(folder / "shard1", changed.get("settings"))
        path.write_bytes(dumped(changed, indent=1))
        return self.read(rng, f"run.json, {kind} · {what}", Expect.FAITHFUL, "run.json")

    def both(self, rng: random.Random, folder: Path) -> Case:
        """The same change in both shards, so that they agree."""
        settings, what = mutate_json(rng, json.loads((folder / "shard1" / "run.json").read_bytes())["settings"])
        for i in (1, 2):
            path = folder / f"shard{i}" / "run.json"
            path.write_bytes(dumped(resealed({**json.loads(path.read_bytes()), "settings": settings}), indent=1))
            reseal_lines(path.parent, settings)
        return self.merge(f"run.json of both, every checksum renewed · {what}", Expect.EITHER, "run.json", "results.jsonl", "shard")

    def maps(self, rng: random.Random, folder: Path) -> Case:
        """One field of what the report shows of a question."""
        path = folder / "shard1" / MAPS
        head, content = path.read_text()[: len('received("maps",0,')], path.read_text()[len('received("maps",0,') : -len(");\n")]
        changed, what = mutate_json(rng, json.loads(content))
        kind = rng.choice(("checksum kept", "checksum renewed", "checksum renewed"))
        changed = changed if kind == "checksum kept" else resealed(changed)
        path.write_bytes(head.encode() + dumped(changed) + b");\n")
        return self.read(rng, f"{MAPS}, {kind} · {what}", Expect.FAITHFUL, path.name, "maps")

    def files(self, rng: random.Random, folder: Path) -> Case:
        """A file that is gone, empty, a folder, or a link to nowhere."""
        path = folder / "shard1" / rng.choice(READ)
        path.unlink()
        what = rng.choice(("gone", "empty", "a folder", "a link to nowhere", "of the other shard"))
        if what == "empty":
            path.touch()
        elif what == "a folder":
            path.mkdir()
        elif what == "a link to nowhere":
            path.symlink_to("nowhere")
        elif what == "of the other shard":
            shutil.copy(next((folder / "shard2").glob(f"{path.parent.relative_to(folder / 'shard1')}/{path.name[:2]}*")), path)
        return self.read(rng, f"{path.name} is {what}", Expect.FAITHFUL, path.name)

    def shards(self, rng: random.Random, folder: Path) -> Case:
        """Good shards, named wrongly."""
        (folder / "file").touch()
        given = rng.choice((["shard1"], ["shard2"], ["shard1", "shard1"], ["shard1", "shard2", "shard2"], ["shard1", "missing"], ["file",
        "shard1"],
                            ["shard1", "."], [""], ["shard2", "./shard1"]))  # fmt: skip
        expect = Expect.SAME if given == ["shard2", "./shard1"] else Expect.REFUSED
        target = rng.choice(("out", "out", "out", "shard1", "file", "a/b/out", "", "."))
        expect = expect if target in ("out", "a/b/out", "") or expect is Expect.REFUSED else Expect.REFUSED
        if target in ("", "."):  # an empty name is this folder, which may be made a run
            expect = Expect.FAITHFUL
        writes = (f"{target}/", "a/", *(WRITTEN if target in ("", ".") else ()))
        run = Command(("bench", "merge", *given, "-o", target, "--json"), table)
        return Case(f"merge · of {given} into {target!r}", expect, run, self.material.table, (), writes)

    def read(self, rng: random.Random, what: str, expect: Expect, *names: str) -> Case:
        return (self.merge if rng.random() < 0.7 else self.resume)(what, expect, *names, "shard1", "shards")

    def merge(self, what: str, expect: Expect, *names: str) -> Case:
        run = Command(("bench", "merge", "shard1", "shard2", "-o", "out", "--json"), table)
        return Case(f"merge: {what}", expect, run, self.material.table, names, ("out/",), sane=sane_table)

    def resume(self, what: str, expect: Expect, *names: str) -> Case:
        run = Command((*self.material.perturb(1), "--resume", "-o", "shard1"), table)
        return Case(
            f"resume: {what}", expect, run, self.material.shard_table, names, ("shard1/",), noted=("shard1/status.json",), sane=sane_table
        )


def key_of(settings: Any) -> str:
    """What ties the lines of a run to its settings (docs/formats.md, Results of the perturbation test)."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def resealed(content: Any, key: str = "") -> Any:
    """An object with the checksum that it should have; anything else as it is."""
    return seal({name: value for name, value in content.items() if name != CHECK}, key) if isinstance(content, dict) else content


def reseal_lines(folder: Path, settings: Any) -> None:
    """Tie the lines of a run to other settings."""
    path = folder / "results.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    path.write_bytes(b"".join(dumped(resealed(line, key_of(settings))) + b"\n" for line in lines))


def table(stdout: str) -> Any:
    """The table that a command prints, if it prints one."""
    return json.loads(stdout) if stdout.strip() else None


def sane_table(found: Any) -> str | None:
    """What is wrong with a table that no run can have, if anything."""
    for row in found["methods"]:
        for panel, auc in row["auc"].items():
            if not 0 <= auc["low"] <= auc["mean"] <= auc["high"] <= 100:
                return f"{panel} has an AUC of {auc}"
        if any(not 0 <= value <= 100 for curve in row["curves"].values() for value in curve):
            return "a curve leaves 0 to 100 %"
    return None
