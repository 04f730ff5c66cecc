"""What the page shows of single questions: an index of all of them, and in blocks what the model answered at every step.

What is known of a question without its results (picture, words, maps) lies in files of its own, which the run wrote (`perturb/shown.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai.base.errors import XaiError
from xai.bench.measures.truth import size_class
from xai.bench.perturb import shown
from xai.bench.perturb.report.scores import PANELS, Scores, panel_name
from xai.bench.perturb.request import FLOOR
from xai.bench.perturb.result_lines import QuestionLines
from xai.bench.perturb.shown import script

BLOCK = 50
"""Questions in a file of answers."""
_KNOWN = ("question_id", "text", "label", "size", "disagreement", "picture")
"""What the index takes from the files of maps."""
_NAMES = (
    "index",
    "id",
    "image",
    "skipped",
    "text",
    "picture",
    "answer",
    "accuracy",
    "wanted",
    "disagreement",
    "size",
    "class",
    "open",
    "gain",
)
"""What the index says of a question, null where it does not apply."""

Line = Mapping[str, Any]


class Pages:
    """Gathers what the page says of the questions that a run's folder can show, while their lines pass by."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / shown.MAPS
        self.maps = {int(path.stem): path for path in sorted(self.folder.glob("[0-9]*.js"))}
        self.known = {one["index"]: {name: one[name] for name in _KNOWN} for path in self.maps.values() for one in shown.read_maps(path)}
        self.last = max(self.known, default=-1)
        self.entries: list[dict[str, Any]] = []
        self.blocks: dict[int, list[dict[str, Any]]] = {}

    def pass_on(self, questions: Iterator[QuestionLines]) -> Iterator[list[dict[str, Any]]]:
        """Give the lines of each question, and note what the page says of it."""
        for question in questions:
            if question.index in self.known or ("skipped" in question.lines[0] and question.index <= self.last):
                self._note(question)
            yield question.lines

    def _note(self, question: QuestionLines) -> None:
        first = question.lines[0]
        entry = {"index": question.index, "id": first["question_id"], "image": first["image"]}
        if "skipped" in first:
            self.entries.append({**entry, "text": "", "skipped": first["skipped"]})
            return
        own = self.known[question.index]
        if own["question_id"] != first["question_id"]:
            raise XaiError(
                f"the maps in {self.folder} are not those of this run's questions, such as {first['question_id']}: remove that folder"
            )
        lines = [line for line in question.lines if "sign" in line]
        self.entries.append(
            {
                **entry,
                "text": own["text"],
                "picture": own["picture"],
                "answer": first["answers"][0],
                "accuracy": first["accuracies"][0],
                "wanted": max(own["label"], key=lambda name: own["label"][name], default=None),
                "disagreement": own["disagreement"],
                "size": own["size"],
                "class": None if own["size"] is None else size_class(own["size"]),
                "open": any(line["solver"] for line in lines),
            }
        )
        self.blocks.setdefault(question.index // BLOCK, []).append(_answers(question.index, lines))

    def files(self, scores: Scores) -> dict[str, bytes]:
        """Make the files by their names in `shown.FOLDER`; none where the run shows no question."""
        if not self.known:
            return {}
        gains = dict(zip(scores.indices.tolist(), question_gains(scores).round(3).tolist(), strict=True))
        for entry in self.entries:
            entry["gain"] = gains.get(entry["index"])
        index = {
            "names": _NAMES,
            "questions": [[entry.get(name) for name in _NAMES] for entry in self.entries],
            "maps": list(self.maps),
            "block": BLOCK,
        }
        found = {"index.js": script("index", 0, index)}
        return found | {f"answers/{number:06d}.js": script("answers", number, block) for number, block in self.blocks.items()}


def question_gains(scores: Scores) -> NDArray[np.float64]:
    """Compute (n,): area of the minus tests less that of the plus tests, in percent, mean over the methods but the floor: how well a
    question is explained."""
    signs = np.array([-1 if sign == "positive" else 1 for _, sign in scores.panels])
    methods = [i for i, name in enumerate(scores.methods) if name != FLOOR] or [0]
    return (scores.auc["accuracy"][:, methods] * signs).mean((1, 2))


def _answers(index: int, lines: Sequence[Line]) -> dict[str, Any]:
    """Write one question's answers, each once, and by panel and method which of them the model gave at each step."""
    names: dict[str, int] = {}
    right: list[float] = []
    panels: dict[str, dict[str, Any]] = {panel_name(panel): {} for panel in PANELS}
    kept: dict[str, list[int]] = {}
    solver: dict[str, dict[str, str]] = {}
    for line in lines:
        given = []
        for answer, accuracy in zip(line["answers"], line["accuracies"], strict=True):
            if answer not in names:
                names[answer] = len(names)
                right.append(accuracy)
            given.append(names[answer])
        shares = [round(value, 3) for value in line["probabilities"]]
        panels[panel_name((line["modality"], line["sign"]))][line["method"]] = {"answers": given, "shares": shares}
        kept[line["modality"]] = line["kept"]
        if line["solver"]:
            solver.setdefault(line["method"], {}).update(line["solver"])
    return {
        "index": index,
        "names": list(names),
        "right": right,
        "kept": kept,
        "panels": {name: methods for name, methods in panels.items() if methods},
        "solver": solver,
    }
