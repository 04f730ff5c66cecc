"""Arguments of every command: each option of `xai`, as click lists them, with values of every kind, and the words around them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from xai.cli import main
from xai.tests.fuzz.images import per_method
from xai.tests.fuzz.material import METHODS, QUESTION, Material, sane
from xai.tests.fuzz.oracle import Case, Command, Expect, nothing
from xai.tests.fuzz.results import sane_table, table

NUMBERS = ("0", "-1", "1", "2", "7", "+1", "-0", "1e3", "1.5", "NaN", "nan", "inf", "-inf", "1e308", "1e-320", "1_0", "\uff11\uff12",
"0x10", "9" * 5000, str(2**63), str(10**30), "", " ",
           "x", "1/2", "0/0", "2/1", "1,2,,3", ",", "true", "None", "--", "-")  # fmt: skip
NAMES = ("", " ", ".", "..", "/proc/", "~", "-", "--", "no/such/x.png", "x" * 300, "a/" * 3000, "a.png", "a.json", "a.gif", "folder/",
"folder", "new/", "{name}.png", "{x}.png", "{}", "%s", "$(x)",
         "a\nb.png", "颜.html", "\udcff.json", "/dev/null", "/proc/x.png", "good.png", "a.npz", "a.PNG", ".png", "loop", "-o", "all",
         "x@all", "red", "0", "99", "roberta-base", "cuda",
         "CUDAExecutionProvider", "CPU", "onnx", "rollout,random", "\x1b[31m", "🙂" * 50)  # fmt: skip
CHANGING = {"layers", "target", "versus", "top_k", "seed", "methods", "model", "tokenizer", "answers", "image_size", "heads", "session"}
"""Options of `explain` that change the numbers, or may."""


@dataclass(frozen=True)
class Row:
    """How a command is run: `before` the option and `after` it.

    A slow command ends with words for which it must be refused before it begins; options that undo that are not tried.
    """

    before: tuple[str, ...]
    after: tuple[str, ...] = ()
    refused: bool = True
    untried: tuple[str, ...] = ()


class Arguments:
    """The fuzzer of command lines."""

    name = "arguments"

    def __init__(self, material: Material) -> None:
        self.material = material
        self.kinds: tuple[Callable[[random.Random, Path], Case], ...] = (
            self.explain,
            self.explain,
            self.option,
            self.option,
            self.option,
            self.words,
            self.outputs,
            self.perturb,
            self.question,
        )
        self.rows = {
            "inspect": Row(("inspect", "nowhere")),
            "verify": Row(("verify", "nowhere")),
            "export": Row(("export", "nowhere.ckpt"), ("-o", "out")),
            "answers build": Row(("answers", "build", "annotations.json"), ("-o", "out.json"), refused=False, untried=("output",)),
            PERTURB: Row(("bench", "perturb", "-o", "out"), ("--data", "nowhere"), untried=("data",)),
            "bench merge": Row(("bench", "merge", "nowhere"), ("-o", "out")),
            "bench latency": Row(("bench", "latency"), ("--chart", "a.gif"), untried=("chart",)),
            "bench compare": Row(("bench", "compare", "a.json"), ("b.json",)),
            "bench eigen": Row(("bench", "eigen"), ("--json", "no/such/x.json"), untried=("json_file",)),
            "bench suite": Row(("bench", "suite", "-o", "out"), ("--bundle", "nowhere"), untried=("model",)),
        }

    def case(self, rng: random.Random, folder: Path) -> Case:
        (folder / "folder").mkdir()
        (folder / "loop").symlink_to("loop")
        shutil.copy(self.material.png, folder / "good.png")
        (folder / "annotations.json").write_text(json.dumps({"annotations": [{"multiple_choice_answer": "red"}] * 20}))
        return rng.choice(self.kinds)(rng, folder)

    @property
    def base(self) -> tuple[str, ...]:
        return ("explain", "good.png", QUESTION, "--json", "-", "--threads", "1", *(f"-m{method}" for method in METHODS))

    def explain(self, rng: random.Random, folder: Path) -> Case:
        """One or two options more; those that are not about the model or the method do not change a number."""
        options = [option for option in find("explain").params if isinstance(option, click.Option)]
        chosen = rng.sample(options, rng.choice((1, 1, 2)))
        typed = [word for option in chosen for word in typing(rng, option)]
        changing = any(option.name in CHANGING or option.name in ("threads", "provider", "json_file") for option in chosen)
        what = f"explain with {' and '.join(str(option.name) for option in chosen)} · {typed!r:.100}"
        run = Command((*self.base, *typed), of_stdout)
        expect = Expect.EITHER if changing else Expect.FAITHFUL
        # --json takes the next option for its file, and that one's value is the question: then the question is a second image
        several = any(word == "--json" and after.startswith("-") for word, after in pairwise(typed))
        return Case(what, expect, run, self.material.numbers, (), ("*",), partly=several, sane=sane_if_any)

    def option(self, rng: random.Random, folder: Path) -> Case:
        """One option of another command."""
        name = rng.choice(list(self.rows))
        row = self.rows[name]
        options = [option for option in find(name).params if isinstance(option, click.Option) and option.name not in row.untried]
        typed = typing(rng, rng.choice(options)) if options else []
        run = Command((*row.before, *typed, *row.after), nothing)
        helped = any(word in ("-h", "--help") for word in typed)
        return Case(f"{name} · {typed!r:.100}", Expect.REFUSED if row.refused and not helped else Expect.EITHER, run, None, (), ("*",))

    def perturb(self, rng: random.Random, folder: Path) -> Case:
        """One or two options of a small run that is really run."""
        taken = ("output", "as_json", "data")
        options = [option for option in find(PERTURB).params if isinstance(option, click.Option) and option.name not in taken]
        chosen = rng.sample(options, rng.choice((1, 1, 2)))
        typed = [word for option in chosen for word in typing(rng, option)]
        before = ("bench", "perturb", "--data", str(self.material.data), "--methods", "random", "--threads", "1", "-o", "out", "--json")
        what = f"perturb with {' and '.join(str(option.name) for option in chosen)} · {typed!r:.100}"
        return Case(what, Expect.EITHER, Command((*before, *typed), table_if_any), None, (), ("out/",), sane=sane_table_if_any)

    def words(self, rng: random.Random, folder: Path) -> Case:
        """The words of a good command lost, doubled, swapped, split or made up."""
        words = [*self.base]
        i, j = rng.randrange(len(words)), rng.randrange(len(words))
        what = rng.choice(("lost", "doubled", "swapped", "made up", "odd", "upper case", "joined", "cut"))
        if what == "lost":
            del words[i]
        elif what == "doubled":
            words.insert(j, words[i])
        elif what == "swapped":
            words[i], words[j] = words[j], words[i]
        elif what == "made up":
            words.insert(
                i, rng.choice(("--foo", "--foo=1", "-x", "--", "-", "", "--json=", "---", "-h", "--version", "--js", "@file", "-vvvv"))
            )
        elif what == "odd":
            words[i] = rng.choice((*NAMES, *NUMBERS))
        elif what == "upper case":
            words[i] = words[i].upper()
        elif what == "joined":
            words[i : i + 2] = ["=".join(words[i : i + 2])]
        else:
            del words[max(i, 1) :]  # `xai` alone shows its help
        return Case(f"words {what} · {i}", Expect.EITHER, Command(tuple(words), of_stdout), None, (), ("*",), partly=True, sane=sane_if_any)

    def outputs(self, rng: random.Random, folder: Path) -> Case:
        """Several files to write; the numbers are those without."""
        count = rng.choice((1, 1, 2, 3))
        typed = [word for _ in range(count) for word in (rng.choice(("-o", "--output")), rng.choice(NAMES))]
        run = Command((*self.base, *typed), of_stdout)
        return Case(f"outputs · {typed!r:.100}", Expect.FAITHFUL, run, self.material.numbers, (), ("*",))

    def question(self, rng: random.Random, folder: Path) -> Case:
        question = rng.choice(
            (*NAMES, *NUMBERS, "word " * 100, "\u2028", "</s>", "?" * 70, "a" * 10**5, "Grüße 颜色 عربي", "\n\n", "'; --", "{name}")
        )
        run = Command((*self.base[:2], question, *self.base[3:]), of_stdout)
        return Case(f"question · {question!r:.60}", Expect.EITHER, run, None, (), ("*",), partly=question == "--", sane=sane_if_any)


PERTURB = "bench perturb"


def find(name: str) -> click.Command:
    """A command by its words."""
    command: click.Command = main
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


def typing(rng: random.Random, option: click.Option) -> list[str]:
    """An option as it may be typed, with a value of its kind or of another."""
    name = rng.choice([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return [name] if rng.random() < 0.7 else [f"{name}=x" if name.startswith("--") else f"{name}x"]
    values: tuple[str, ...] = NUMBERS if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType) else NAMES
    if isinstance(option.type, click.Choice):
        values = (*map(str, option.type.choices), *(str(choice).upper() for choice in option.type.choices), "", "x")
    value = rng.choice(values if rng.random() < 0.9 else (*NUMBERS, *NAMES))
    return rng.choice(([name, value], [name, value], [f"{name}={value}"] if name.startswith("--") else [f"{name}{value}"], [name]))


def of_stdout(stdout: str) -> Any:
    """Of the JSON that is printed, if one object is; what stands before it is no number."""
    start = stdout.find("{\n")
    try:
        return per_method(json.loads(stdout[start:])) if start >= 0 else None
    except (ValueError, KeyError):
        return None


def table_if_any(stdout: str) -> Any:
    """A table, where one is printed and not, for example, help."""
    return table(stdout) if stdout.startswith("{") else None


def sane_table_if_any(found: Any) -> str | None:
    """As `sane_table`, where the command printed one."""
    return sane_table(found) if found else None


def sane_if_any(numbers: Any) -> str | None:
    """As `sane`, where the command printed numbers."""
    return sane(numbers) if numbers else None
