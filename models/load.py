"""The one way to name a model and to load it: a bundle, a checkpoint, or the demo model. Imports nothing heavy before it must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from xai.base.errors import XaiError
from xai.base.files import hash_file

if TYPE_CHECKING:
    from xai.runtime.explainer import Explainer, Remark
    from xai.runtime.sessions.protocol import Session

DEFAULT_TOKENIZER = "roberta-base"
"""The tokenizer of the published METER checkpoints, looked for in the local Hugging Face cache."""


@dataclass(frozen=True)
class ModelOptions:
    """What the options say, as `xai.load` takes it; none of the first three means the demo model."""

    model: Path | None = None
    bundle: Path | None = None
    checkpoint: Path | None = None
    tokenizer: str | None = None
    answers: Path | None = None
    image_size: int | None = None
    session: str | None = None
    provider: str = "cpu"
    allow_fallback: bool = False
    threads: int | None = None
    trust: bool = False

    @property
    def place(self) -> Path | None:
        """Where the model lies; None for the demo."""
        return self.model or self.bundle or self.checkpoint

    def arguments(self) -> list[str]:
        """These options as they would be typed."""
        typed: list[str] = []
        for field in fields(self):
            value, name = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            if value != field.default:
                typed += [name] if value is True else [name, str(value)]
        return typed

    def check(self) -> None:
        """Raises `XaiError` where the bundle is not there."""
        if self.model and (self.bundle or self.checkpoint):
            raise XaiError("name the model by --model, or by --bundle or --checkpoint, not twice")
        if self.model and not self.model.exists():
            raise XaiError(f"model {self.model} does not exist: name a folder as transformers saves it, a bundle, or a checkpoint")
        if self.bundle and not self.bundle.is_dir():
            raise XaiError(
                f"{self.bundle} is a file; a bundle is a folder" if self.bundle.exists() else f"bundle {self.bundle} does not exist"
            )

    def open(self) -> Explainer:
        """The explainer. Raises as `check` does, and `XaiError` where the model cannot be used."""
        self.check()
        return load(
            self.place,
            tokenizer=self.tokenizer,
            answers=self.answers,
            image_size=self.image_size,
            session=self.session,
            provider=self.provider,
            threads=self.threads,
            trust=self.trust,
            allow_fallback=self.allow_fallback,
        )


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
    """An explainer for an exported bundle (a folder), a METER checkpoint (`.ckpt`, `.pt`, `.safetensors`), a folder of another family
    as transformers' `save_pretrained` writes it (`xai.models.families`), or the demo model.

    For a checkpoint: `tokenizer` is a `tokenizer.json`, a folder that holds one, or the name of a model in the local Hugging
    Face cache (default `roberta-base`); `answers` a JSON list, a JSON object id -> answer or a `.txt` file (default: numbered
    names); `image_size` in pixels, a multiple of the patch size (default: the checkpoint's). Bundles and the demo bring their own, and so
    does a folder, where `tokenizer` and `answers` take the place of what it holds.

    `session` is `onnx` or `torchscript` for a bundle (default: what it has, ONNX first) and `eager` for a checkpoint; the demo
    comes as both. `provider` says where it runs: `cpu`, `cuda`, or for `onnx` another of ONNX Runtime's providers; `allow_fallback`
    lets ONNX Runtime take another one, `trust` allows TorchScript, `threads` sets the threads.

    Raises `XaiError` where something is missing or does not fit.
    """
    from xai.meter import demo

    if path is not None and is_saved(Path(path)):
        if session not in (None, "eager") or provider != "cpu" or image_size is not None:
            raise XaiError(f"{path} runs in the session eager, on the cpu, at the size that it says itself: export it first (xai export)")
        return _load_folder(Path(path), tokenizer or path, answers, threads)
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

    from xai.runtime.bundle.reader import read_bundle
    from xai.runtime.sessions.choose import open_session

    bundle = read_bundle(demo.BUNDLE if path is None else Path(path), packaged=path is None)
    running = open_session(bundle, session, provider=provider, threads=threads, trust=trust, allow_fallback=allow_fallback)
    return _explainer(running, bundle.file("tokenizer.json"), bundle.file("answers.json"), remark)


def is_saved(path: Path) -> bool:
    """Whether a path looks like a folder that transformers' `save_pretrained` wrote."""
    return (path / "config.json").is_file() and not (path / "manifest.json").is_file()


def _load_folder(path: Path, tokenizer: str | Path, answers: str | Path | None, threads: int | None) -> Explainer:
    try:
        import torch

        from xai.base.process import keep_large_blocks
        from xai.models.eager import EagerSession
        from xai.models.families import load_family, read_answers
    except ModuleNotFoundError as error:
        raise XaiError(f"running {path} needs {error.name}: pip install 'xai-vqa[export]'") from error
    keep_large_blocks()
    if threads is not None:
        torch.set_num_threads(threads)
    session = EagerSession(load_family(path))
    return _explainer(session, tokenizer, answers or read_answers(path), None)


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

        from xai.base.process import keep_large_blocks
        from xai.models.eager import EagerSession
        from xai.models.meter import load_meter_family
    except ModuleNotFoundError as error:
        raise XaiError(f"running a checkpoint needs {error.name}: pip install 'xai-vqa[export]'") from error
    keep_large_blocks()
    if threads is not None:
        torch.set_num_threads(threads)
    return _explainer(EagerSession(load_meter_family(path, image_size)), tokenizer, answers, remark)


def _explainer(session: Session, tokenizer: str | Path, answers: str | Path | Sequence[str] | None, remark: Remark | None) -> Explainer:
    from xai.runtime.answers import Answers, load_answers, numbered_answers
    from xai.runtime.explainer import Explainer
    from xai.runtime.inputs.question import QuestionEncoder, load_tokenizer

    size = session.description
    if isinstance(answers, str | Path):
        names = load_answers(Path(answers), size.answers)
    else:
        names = Answers(answers) if answers else numbered_answers(size.answers)
    return Explainer(session, QuestionEncoder(load_tokenizer(tokenizer), size.max_text_tokens, size.vocab_size), names, remark)


def identify(path: Path | None, session: str) -> dict[str, str]:
    """What is run, by name and hash: of a checkpoint, or of a bundle's manifest, which holds those of its files."""
    from xai.meter import demo

    if path is None:
        file, name = (demo.WEIGHTS if session == "eager" else demo.BUNDLE / "manifest.json"), "demo"
    else:
        file, name = (path / "manifest.json" if path.is_dir() else path), path.name
    try:
        return {"name": name, "sha256": hash_file(file)}
    except OSError as error:
        raise XaiError(f"{file} cannot be read: {error.strerror}") from error
