"""One image after the other with one question: explained, and drawn into the files that were asked for."""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from xai.base.errors import XaiError
from xai.commands.explain.asked import Asked
from xai.commands.explain.images import image_source
from xai.commands.explain.outputs import Summary, summarise
from xai.commands.explain.sharing import share
from xai.models.load import ModelOptions

if TYPE_CHECKING:
    from xai.runtime.explainer import Explainer
    from xai.runtime.explanation import Explanation
    from xai.runtime.inputs.prepare import PreparedImage
    from xai.runtime.inputs.question import EncodedQuestion
    from xai.workers.crew import Task


class Wanted(NamedTuple):
    """An image, and where its explanation goes."""

    image: str
    paths: tuple[Path, ...]


class Drawn(NamedTuple):
    """What came of an image."""

    json: bytes
    """Empty where nobody asked."""
    files: Mapping[Path, bytes]
    summary: Summary
    explanations: list[Explanation]
    """None of them where the summary is all that is shown."""


@dataclass(frozen=True)
class Drawing:
    """What is done with each image; `as_json` says whether its JSON is wanted, `lines` whether that is one line, `shown` whether
    the explanations themselves are."""

    asked: Asked
    question: str
    as_json: bool
    lines: bool
    shown: bool

    def alone(self, explainer: Explainer, wanted: Sequence[Wanted]) -> Generator[Drawn | XaiError, None, None]:
        """Draw each image in this process, which prepares the next ones meanwhile; or say why it cannot be."""
        from xai.runtime.inputs.prepare import ahead

        encoded = self.asked.check(explainer, self.question)
        images = ahead(functools.partial(self.asked.prepare, explainer), [image_source(one.image) for one in wanted])
        for one, image in zip(wanted, images, strict=True):
            try:
                found = self._draw(explainer, one, image.result(), encoded)
            except XaiError as error:
                yield error
            else:
                yield found

    def results(self, explainer: Explainer, task: Task) -> list[Drawn | XaiError]:
        """Draw the images of a chunk, in the process of a worker."""
        return list(self.alone(explainer, task.items[task.chunk.start : task.chunk.stop]))

    def shared(self, model: ModelOptions, wanted: Sequence[Wanted], workers: int) -> Generator[Drawn | XaiError, None, None]:
        """Have workers draw them, a chunk each."""
        from xai.workers.crew import Chunk
        from xai.workers.state import Wording

        chunks = [Chunk(number, number + 1) for number in range(len(wanted))]
        return share(model, self, wanted, chunks, workers, Wording("image", 1, "leave it out, or take fewer workers"))

    def _draw(self, explainer: Explainer, wanted: Wanted, image: PreparedImage, question: EncodedQuestion) -> Drawn:
        from xai.base.files import json_bytes
        from xai.runtime.explanation import to_json
        from xai.runtime.show.save import render

        found = self.asked.explain(explainer, image, question)
        content = json_bytes(to_json(found), indent=None if self.lines else 1) if self.as_json else b""
        files = {path: render(found, path) for path in wanted.paths}
        return Drawn(content, files, summarise(found), found if self.shown else [])
