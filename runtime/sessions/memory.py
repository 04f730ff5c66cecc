"""What running a model takes of memory: how many rows of its graphs go together, and what a process comes to hold.

Counted is what no file backs (RssAnon of `proc(5)`). A lean session's weights lie in their file, which is mapped: the system keeps them for
all processes once, and takes them back where it needs the room.
"""

from __future__ import annotations

from dataclasses import dataclass

from xai.base.arguments import GIBIBYTE
from xai.base.errors import BadInput
from xai.base.process import private_memory
from xai.runtime.description import IMAGE, Aspect, Boxes, Description, Square
from xai.runtime.sessions.protocol import Session

RUN = GIBIBYTE
"""Bytes for one run of a model where many rows share it: a constant, as the last bits of results depend on which rows go together."""
MOST_QUESTIONS = 32
"""Questions that are planned and run together, at most."""
PUBLISHED_BOXES = 36
"""Of a picture, in the published features (Anderson et al. 2018; Tan and Bansal 2019)."""
_ROWS_OF_A_QUESTION = 64
"""Distinct subsets of about one length that a question asks for, by nine methods: of some 150 in all."""
SPARE = 256 * 2**20
"""Bytes that a process comes to hold beside its model: libraries that it has yet to load, pictures, results (benchmarks/NOTES.md)."""


@dataclass(frozen=True)
class Memory:
    """How many rows of each kind of run fit into `limit` bytes, for a model of `width` channels and `layers` layers of image tokens.

    An estimate from above in float32, held against METER's graphs (benchmarks/NOTES.md): 28 vectors of every token, most of them within a
    feed-forward of four times the width, and the attention map twice. The evidence graph
    keeps 16 vectors and a map for every layer as well.
    """

    limit: int
    width: int
    layers: int

    def _row(self, tokens: int) -> tuple[int, int]:
        """Count the bytes of one vector of every token and of one layer's attention maps of one row."""
        heads = max(1, self.width // 64)
        return 4 * self.width * tokens, 4 * heads * tokens * tokens

    def _answer(self, tokens: int) -> int:
        """Count the bytes of one row of `answer` and `encode_image`."""
        vectors, maps = self._row(tokens)
        return 28 * vectors + 2 * maps

    def _evidence(self, tokens: int) -> int:
        """Count the bytes of one row of `evidence`."""
        vectors, maps = self._row(tokens)
        return self._answer(tokens) + self.layers * (16 * vectors + maps)

    def answers(self, image_tokens: int, text_tokens: int) -> int:
        """Count the rows of the graphs `answer` and, with no text, `encode_image`."""
        return max(1, self.limit // self._answer(image_tokens + text_tokens))

    def questions(self, image_tokens: int) -> int:
        """Count the questions to plan and run together: as many as fill the rows, few where one does: little is lost by a kill."""
        return min(MOST_QUESTIONS, max(1, self.answers(image_tokens, 0) // _ROWS_OF_A_QUESTION))

    def evidence(self, image_tokens: int, text_tokens: int) -> int:
        """Count the rows of the graph `evidence`."""
        return max(1, self.limit // self._evidence(image_tokens + text_tokens))

    def explaining(self, image_tokens: int, text_tokens: int, rows: int, graphs: int) -> int:
        """Count the bytes that explaining `rows` questions at once leaves in `encode_image`, and in so many graphs that give evidence."""
        return rows * (self._answer(image_tokens) + graphs * self._evidence(image_tokens + text_tokens))

    def answering(self, image_tokens: int, text_tokens: int, rows: int) -> int:
        """Count the bytes that answering `rows` questions at once leaves in `answer`."""
        return rows * self._answer(image_tokens + text_tokens)


def session_memory(session: Session, limit: int = RUN) -> Memory:
    """What fits into `limit` bytes of the session's model."""
    description = session.description
    image = description.stream_of(IMAGE).name
    layers = sum(site.queries == site.keys == image for site in description.sites)
    return Memory(limit, max(description.image_width, description.text_width), layers)


def usual_tokens(description: Description) -> int:
    """How many tokens, special ones included, a picture becomes: always, at most where it keeps its shape, or of boxes as published."""
    special = sum(description.special[IMAGE])
    match description.picture:
        case Square(grid=grid):
            return grid**2 + special
        case Aspect(shorter=shorter, longer=longer, patch=patch):
            return (shorter // patch) * (longer // patch) + special
        case Boxes():
            return PUBLISHED_BOXES + special


def explaining_takes(session: Session, rows: int, text_tokens: int, graphs: int = 2) -> int:
    """Count the bytes that answering and explaining `rows` questions of so many tokens at once takes beside the process itself.

    `graphs` counts those that give evidence: two where something is explained in two passes, of which one may ask for less.
    """
    memory, tokens = session_memory(session), usual_tokens(session.description)
    return memory.explaining(tokens, text_tokens, rows, graphs) + memory.answering(tokens, text_tokens, rows)


def perturbing_takes(session: Session, questions: int, text_tokens: int) -> int:
    """Count the bytes that so many questions, planned and run together, take beside the process itself: rows as `Memory` allows."""
    memory, tokens = session_memory(session), usual_tokens(session.description)
    encoded = memory.explaining(tokens, text_tokens, min(questions, memory.answers(tokens, 0)), graphs=0)
    explained = memory.explaining(tokens, text_tokens, min(questions, memory.evidence(tokens, text_tokens)), graphs=2)
    return encoded + explained + max(RUN, memory.answering(tokens, text_tokens, 1))


def process_takes() -> int:
    """Count the bytes that a process like this one holds, beside what runs of its model take."""
    return private_memory() + SPARE


def check_explaining(session: Session, limit: int, rows: int, text_tokens: int, graphs: int) -> None:
    """Raise `BadInput` where a process that explains so many questions at once is not known to stay below `limit` bytes."""
    check_bounded(session)
    check_fits(limit, process_takes() + explaining_takes(session, rows, text_tokens, graphs), f"that explaining by {session.source} needs")


def check_bounded(session: Session) -> None:
    """Raise `BadInput` where nobody knows what the session takes."""
    if session.name != "onnx" or session.device != "cpu":
        raise BadInput(
            f"--memory bounds what ONNX Runtime takes on the CPU, not {session.name} on {session.provider}: export the model "
            "(xai export), or leave --memory out"
        )


def check_fits(limit: int, takes: int, advice: str) -> None:
    """Raise `BadInput` where a process that takes so many bytes would exceed `limit`; names the least that would do."""
    if takes > limit:
        raise BadInput(f"--memory {limit / GIBIBYTE:.4g} is too little: {in_gb(takes)} is the least {advice}")


def check_workers(limit: int, driver: int, worker: int, count: int) -> int:
    """Count the workers that `limit` bytes hold beside their driver; raise `BadInput` where that is fewer than `count`."""
    fitting = max(1, (limit - driver) // worker)
    others = f"; {fitting} would fit" if count > fitting and driver + worker <= limit else ""
    check_fits(limit, driver + count * worker, f"for {count} workers beside this process{others}")
    return fitting


def in_gb(count: int) -> str:
    """Write bytes in hundredths of a GB, one more than they fill: the next process may hold a little more than this one."""
    return f"{count * 100 // GIBIBYTE / 100 + 0.01:.2f} GB"
