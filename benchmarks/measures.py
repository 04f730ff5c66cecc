"""What each measure of the perturbation test costs on the demo: predicted from its distinct subsets, and measured.

    python benchmarks/measures.py [--questions 64]

Seconds are those of the processor, in one thread, so that other work on the machine matters little.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

import xai
from xai.bench.data.datasets import load_samples
from xai.bench.data.sample import by_image
from xai.bench.measures.table import FIRST, MEASURES
from xai.bench.perturb.answering import PreparedQuestion, run_chunk
from xai.bench.perturb.request import Request, table_methods
from xai.bench.perturb.run import prepare_chunk
from xai.bench.tables import aligned
from xai.runtime.sessions.memory import MOST_QUESTIONS, session_memory
from xai.runtime.sessions.protocol import Session
from xai.workers.crew import Chunk


class Clocked:
    """A session that counts the processor seconds of its answers."""

    def __init__(self, session: Session) -> None:
        self.session, self.seconds = session, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def run(self, graph: str, *arguments: Any) -> Any:
        start = time.process_time()
        found = self.session.run(graph, *arguments)
        self.seconds += (time.process_time() - start) * (graph == "answer")
        return found


class Cost(NamedTuple):
    """Processor seconds of the answers and of all, distinct subsets and their tokens."""

    answering: float
    seconds: float
    subsets: int
    tokens: int


def cost(session: Session, prepared: Sequence[PreparedQuestion], measures: tuple[str, ...]) -> Cost:
    """Measure some questions once."""
    request = Request(table_methods(["all"]), session_memory(session), MOST_QUESTIONS, measures=measures)
    clocked, found, start = Clocked(session), [], time.process_time()
    for first in range(0, len(prepared), MOST_QUESTIONS):
        found += run_chunk(clocked, prepared[first : first + MOST_QUESTIONS], request)
    costs = [one for question in found for one in question.costs.values()]
    return Cost(clocked.seconds, time.process_time() - start, sum(one.new for one in costs), sum(one.tokens for one in costs))


@click.command()
@click.option("--questions", default=64, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="The least time of so many counts.")
def main(questions: int, rounds: int) -> None:
    """Measure each measure beside the published test, and all of them."""
    explainer = xai.load(threads=1)
    prepared, _ = prepare_chunk(explainer, by_image(load_samples("scenes", questions)), Chunk(0, questions), skip_broken=False)
    runs = {FIRST: (FIRST,), **{f"and {name}": (FIRST, name) for name in MEASURES if name != FIRST}, "all": tuple(MEASURES)}
    cost(explainer.session, prepared[:2], (FIRST,))
    measured = {name: min(cost(explainer.session, prepared, asked) for _ in range(rounds)) for name, asked in runs.items()}
    alone = measured[FIRST]
    rows = [
        [
            name,
            f"{found.subsets / questions:.0f}",
            f"{found.tokens / alone.tokens:.2f}",
            f"{found.answering / alone.answering:.2f}",
            f"{found.seconds / questions:.3f}",
        ]
        for name, found in measured.items()
    ]
    click.echo(aligned(["measures", "subsets a question", "answering predicted", "answering measured", "seconds a question, all"], rows))


if __name__ == "__main__":
    main()
