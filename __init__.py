"""See why a vision-and-language model gave its answer.

>>> import xai
>>> explainer = xai.load()
>>> explainer.explain("examples/scene1.png", "What color is the circle?").save("why.png")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xai.runtime.explainer import Explainer

__version__ = "0.1.0"

DEFAULT_TOKENIZER = "roberta-base"
"""The tokenizer of the published METER checkpoints, looked for in the local Hugging Face cache."""


class XaiError(ValueError):
    """An input cannot be used. The message is one line that names the input, what is wrong and what to do."""


def load(
    path: str | Path | None = None,
    *,
    tokenizer: str | Path | None = None,
    answers: str | Path | None = None,
    image_size: int | None = None,
) -> Explainer:
    """An explainer for a METER checkpoint (`.ckpt`, `.pt` or `.safetensors`), or for the embedded demo model.

    `tokenizer` is a `tokenizer.json`, a folder that holds one, or the name of a model in the local Hugging Face cache
    (default `roberta-base`); `answers` a JSON list, a JSON object id -> answer or a text file (default: numbered names);
    `image_size` in pixels, a multiple of the patch size (default: the checkpoint's). The demo brings its own.

    Raises `XaiError` where something is missing or does not fit.
    """
    try:
        from xai.meter.checkpoint import load_meter
        from xai.meter.session import EagerSession
    except ModuleNotFoundError as error:
        raise XaiError(f"running a checkpoint needs {error.name}: pip install 'xai-vqa[export]'") from error
    from xai.meter import demo
    from xai.runtime.answers import load_answers, numbered_answers
    from xai.runtime.explainer import Explainer
    from xai.runtime.question import QuestionEncoder, load_tokenizer

    if path is None:
        if tokenizer or answers or image_size is not None:
            raise XaiError("the demo model brings its own tokenizer, answers and image size: name a checkpoint to set them")
        path, tokenizer, answers = demo.WEIGHTS, demo.TOKENIZER, demo.ANSWERS
    model = load_meter(Path(path), image_size)
    size = model.config
    names = load_answers(Path(answers), size.answers) if answers else numbered_answers(size.answers)
    encoder = QuestionEncoder(load_tokenizer(tokenizer or DEFAULT_TOKENIZER), size.max_text_tokens, size.vocab_size)
    remark = demo.remark if path == demo.WEIGHTS else None
    return Explainer(EagerSession(model), encoder, names, remark)
