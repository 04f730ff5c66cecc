"""How long each stage of an explanation takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STAGES = ("decode", "preprocess", "encode_image", "embed_text", "evidence", "solver", "methods", "assemble")
"""The stages in their order, as `timings_ms` names them beside `total`."""

ANSWER = "answer"
"""The stage that takes the place of `evidence`, `solver` and `methods` where nothing is explained."""


@dataclass
class Clock:
    """Milliseconds by stage, added up."""

    milliseconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add what the block takes."""
        start = time.perf_counter()
        yield
        self.add(stage, 1e3 * (time.perf_counter() - start))

    def add(self, stage: str, milliseconds: float) -> None:
        """Add to a stage; raises ValueError where it is none of `STAGES`, nor `ANSWER`."""
        if stage not in (*STAGES, ANSWER):
            raise ValueError(f"no stage is called {stage}")
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + milliseconds

    def timings(self) -> dict[str, float]:
        """Milliseconds by stage, in the order in which they ended, and their `total`."""
        return {**self.milliseconds, "total": sum(self.milliseconds.values())}
