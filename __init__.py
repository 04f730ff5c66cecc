"""See why a vision-and-language model gave its answer.

>>> import xai
>>> explainer = xai.load()
>>> explainer.explain("examples/scene1.png", "What color is the circle?").save("why.png")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xai.runtime.explainer import Explainer, Remark
    from xai.runtime.session import Session

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
    session: str | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    trust: bool = False,
    allow_fallback: bool = False,
) -> Explainer:
    """An explainer for an exported bundle (a folder), a METER checkpoint (`.ckpt`, `.pt`, `.safetensors`), or the demo model.

    For a checkpoint: `tokenizer` is a `tokenizer.json`, a folder that holds one, or the name of a model in the local Hugging
    Face cache (default `roberta-base`); `answers` a JSON list, a JSON object id -> answer or a `.txt` file (default: numbered
    names); `image_size` in pixels, a multiple of the patch size (default: the checkpoint's). Bundles and the demo bring their own.

    `session` is `onnx` or `torchscript` for a bundle (default: what it has, ONNX first) and `eager` for a checkpoint; the demo
    comes as both. `provider` says where it runs: `cpu`, `cuda`, or for `onnx` another of ONNX Runtime's providers; `allow_fallback`
    lets ONNX Runtime take another one, `trust` allows TorchScript, `threads` sets the threads.

    Raises `XaiError` where something is missing or does not fit.
    """
    from xai.meter import demo

    own = path is None or Path(path).is_dir()
    if own and (tokenizer or answers or image_size is not None):
        raise XaiError(f"{path or 'the demo model'} brings its own tokenizer, answers and image size: name a checkpoint to set them")
    remark = demo.remark if path is None else None
    if session == "eager" or not own:
        if session not in (None, "eager"):
            raise XaiError(f"a checkpoint runs in the session eager, not {session}: export it first (xai export)")
        if path is not None and own:
            raise XaiError(f"bundle {path} does not run in the session eager: name the checkpoint that it was made of")
        if path is None:
            path, tokenizer, answers = demo.WEIGHTS, demo.TOKENIZER, demo.ANSWERS
        if provider != "cpu":
            raise XaiError(f"the session eager runs on the cpu, not on {provider}: export the model to run it there")
        return _load_checkpoint(Path(path), tokenizer or DEFAULT_TOKENIZER, answers, image_size, threads, remark)

    from xai.runtime.manifest import read_bundle
    from xai.runtime.sessions import open_session

    bundle = read_bundle(demo.BUNDLE if path is None else Path(path), packaged=path is None)
    running = open_session(bundle, session, provider=provider, threads=threads, trust=trust, allow_fallback=allow_fallback)
    return _explainer(running, bundle.file("tokenizer.json"), bundle.file("answers.json"), remark)


def _load_checkpoint(
    path: Path,
    tokenizer: str | Path,
    answers: str | Path | None,
    image_size: int | None,
    threads: int | None,
    remark: Remark | None,
) -> Explainer:
    try:
        import torch

        from xai.meter.checkpoint import load_meter
        from xai.meter.session import EagerSession
        from xai.runtime.allocator import keep_large_blocks
    except ModuleNotFoundError as error:
        raise XaiError(f"running a checkpoint needs {error.name}: pip install 'xai-vqa[export]'") from error
    keep_large_blocks()
    if threads is not None:
        torch.set_num_threads(threads)
    return _explainer(EagerSession(load_meter(path, image_size)), tokenizer, answers, remark)


def _explainer(session: Session, tokenizer: str | Path, answers: str | Path | None, remark: Remark | None) -> Explainer:
    from xai.runtime.answers import load_answers, numbered_answers
    from xai.runtime.explainer import Explainer
    from xai.runtime.question import QuestionEncoder, load_tokenizer

    size = session.description
    names = load_answers(Path(answers), size.answers) if answers else numbered_answers(size.answers)
    return Explainer(session, QuestionEncoder(load_tokenizer(tokenizer), size.max_text_tokens, size.vocab_size), names, remark)
