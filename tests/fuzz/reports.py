"""Reports of `bench latency`, as `bench compare` reads them."""

from __future__ import annotations

import json
import random
from pathlib import Path

from xai.tests.fuzz.material import Material
from xai.tests.fuzz.mutate import damaged, dumped, mutate_json, mutate_text
from xai.tests.fuzz.oracle import Case, Command, Expect


class Reports:
    """The fuzzer of reports."""

    name = "reports"

    def __init__(self, material: Material) -> None:
        self.material = material

    def case(self, rng: random.Random, folder: Path) -> Case:
        for report in self.material.reports:
            (folder / report.name).write_bytes(report.read_bytes())
        path = folder / rng.choice(("a.json", "b.json"))
        raw = path.read_bytes()
        if rng.random() < 0.75:
            content, what = json.loads(raw), []
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                content, one = mutate_json(rng, content)
                what.append(one)
            path.write_bytes(dumped(content))
            said = "; ".join(what)
        else:
            changed, said = rng.choice((mutate_text, damaged))(rng, raw)
            path.write_bytes(changed)
        judged = ("--fail-over", rng.choice(("0", "10", "1e300"))) if rng.random() < 0.5 else ()
        run = Command(("bench", "compare", "a.json", "b.json", *judged), str)
        names = ("a.json", "b.json", "the reports", "one of the reports")
        expected = None if judged else self.material.comparison
        return Case(f"report · {path.name}: {said}", Expect.EITHER, run, expected, names, exits=(0, 3), sane=sane_ratios)


def sane_ratios(printed: object) -> str | None:
    """What is wrong with the table of a printed comparison, if anything; what runs either report has names above, which may be any text."""
    text = "\n".join(line for line in str(printed).splitlines() if line.startswith("|")).lower()
    return next((f"it prints {word}" for word in (" nan ", " inf ", "-inf", " none ") if word in text), None)
