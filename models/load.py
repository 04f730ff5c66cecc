"""The one way to name a model and to load it: the demo model, a bundle, or a checkpoint. Imports nothing heavy before it must."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from xai.base.arguments import MAX_THREADS, whole_number
from xai.base.errors import BadInput, XaiError
from xai.base.files import hash_file
from xai.base.messages import LOG
from xai.pull.cache import Located, locate
from xai.pull.catalogue import find_entry, near

if TYPE_CHECKING:
    from xai.meter.config import LayerOrder
    from xai.models.contract import Family
    from xai.runtime.bundle.manifest import Bundle
    from xai.runtime.explainer import Explainer, Remark
    from xai.runtime.sessions.protocol import Session

DEMO = "demo"
"""The name of the model that ships with the package."""

MODEL_VARIABLE = "XAI_MODEL"
"""The environment variable that names the model where nothing else does."""

DEFAULT_TOKENIZER = "roberta-base"
"""The tokenizer of the published METER checkpoints, looked for in the local Hugging Face cache."""

ONLY_CHECKPOINTS = ("tokenizer", "answers", "image_size", "heads")
"""Options of a checkpoint: a bundle and the demo model bring these with them."""

LAYER_ORDERS = ("sequential", "parallel")
"""In which the two layers of a pair run (`xai.meter.config.LayerOrder`)."""

OF_FOLDERS = ("tokenizer", "answers")
"""Of these, what may also take the place of what a folder of transformers holds."""


class Unnamed(Enum):
    """What `load` takes where no model is named."""

    MODEL = "the model that XAI_MODEL names, else the demo"


@dataclass(frozen=True)
class FoundModel:
    """A model by its name: what kind it is, and the folder of a bundle or of a model as transformers saves it, or the file of a
    checkpoint (None for the demo); and, where it was pulled, what came along with it."""

    name: str
    kind: Literal["demo", "bundle", "folder", "checkpoint"]
    path: Path | None
    pulled: Located | None = None


def default_model() -> str:
    """The name of the model that is meant where none is named."""
    return os.environ.get(MODEL_VARIABLE) or DEMO


def find_model(name: str | Path) -> FoundModel:
    """The model of a name: `demo`, the folder of a bundle, the file of a checkpoint, or what `xai pull` fetched by that name. Raises
    `BadInput` where there is none.

    `demo`, or a model of the catalogue, is that model even where a file or folder of that name lies; `./demo` names that one.
    """
    given = os.fspath(name)
    advice = "name demo, the folder of a bundle or of a model as transformers saves it, or the file of a checkpoint"
    if not given:
        raise BadInput(f"the name of the model is empty: {advice}")
    entry = None if given == DEMO else find_entry(given)
    if given == DEMO or entry is not None:
        if os.path.exists(given):  # noqa: PTH110 - Path.exists fails on a name that is too long
            what = "the demo model" if given == DEMO else "the model that xai pull fetches"
            LOG.warning("%s is %s, not what lies here under that name: to name that, write ./%s", given, what, given)
        if entry is None:
            return FoundModel(DEMO, "demo", None)
        pulled = locate(entry)
        return FoundModel(given, "folder" if pulled.model.is_dir() else "checkpoint", pulled.model, pulled)
    path = Path(given)
    try:
        if path.is_dir():
            saved = (path / "config.json").is_file() and not (path / "manifest.json").is_file()
            return FoundModel(given, "folder" if saved else "bundle", path)
        if path.exists():
            return FoundModel(given, "checkpoint", path)
    except (OSError, ValueError) as error:  # a name that is too long, or holds NUL
        raise BadInput(f"model {given} cannot be read: {getattr(error, 'strerror', None) or error}: {advice}") from error
    hint = near(given)
    raise BadInput(f"model {given} does not exist: {f'{hint} Else ' if hint else ''}{advice}")


@dataclass(frozen=True)
class ModelOptions:
    """What the options say, as `xai.load` takes it."""

    model: str = DEMO
    tokenizer: str | None = None
    answers: Path | None = None
    image_size: int | None = None
    heads: int | None = None
    layer_order: str | None = None
    session: str | None = None
    provider: str = "cpu"
    allow_fallback: bool = False
    threads: int | None = None
    trust: bool = False
    lean: bool = False

    @property
    def is_demo(self) -> bool:
        return self.model == DEMO

    def arguments(self) -> list[str]:
        """These options as they would be typed; the model always, so that no environment variable takes its place."""
        typed = ["--model", self.model]
        for field in fields(self)[1:]:
            value, name = getattr(self, field.name), option_name(field.name)
            if value != field.default:
                typed += [name] if value is True else [name, str(value)]
        return typed

    def find(self) -> FoundModel:
        """The model, before it is loaded. Raises `BadInput` where it is not there, or an option is not for its kind."""
        found = find_model(self.model)
        for name in ONLY_CHECKPOINTS if found.kind != "checkpoint" else ():
            if getattr(self, name) is not None and not (found.kind == "folder" and name in OF_FOLDERS):
                raise BadInput(f"{option_name(name)} is for a checkpoint: {_described(found)} brings its own")
        _check_order(self.layer_order, found)
        if self.answers is not None and not self.answers.exists():
            raise BadInput(f"answer file {self.answers} does not exist")
        return found

    def open(self, once: Sequence[str] = ()) -> Explainer:
        """The explainer, `once` as `load` takes it. Raises as `find` does, and `XaiError` where the model cannot be used."""
        self.find()
        return load(**{field.name: getattr(self, field.name) for field in fields(self)}, once=once)


def option_name(field: str) -> str:
    """How an option is typed."""
    return f"--{field.replace('_', '-')}"


def _described(model: FoundModel) -> str:
    return "the demo model" if model.kind == "demo" else f"{model.kind} {model.name}"


def load(
    model: str | Path | Unnamed = Unnamed.MODEL,
    *,
    tokenizer: str | Path | None = None,
    answers: str | Path | None = None,
    image_size: int | None = None,
    heads: int | None = None,
    layer_order: str | None = None,
    session: str | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    trust: bool = False,
    allow_fallback: bool = False,
    lean: bool = False,
    once: Sequence[str] = (),
) -> Explainer:
    """An explainer for a model: `demo`, an exported bundle (its folder), a METER checkpoint (`.ckpt`, `.pt`, `.safetensors`), the
    folder of another family as transformers' `save_pretrained` writes it (`xai.models.families`), or what `xai pull` fetched, by the same
    name; nothing is downloaded.

    Without a name, the model that the environment variable `XAI_MODEL` names, else the demo.

    For a checkpoint: `tokenizer` is a `tokenizer.json`, a folder that holds one, or the name of a model in the local Hugging
    Face cache (default `roberta-base`); `answers` a JSON list, a JSON object id -> answer or a `.txt` file (default: numbered
    names); `image_size` in pixels, a multiple of the patch size (default: the checkpoint's); `heads` across modalities, where the
    checkpoint does not say how many. Bundles and the demo bring their own; of a folder, `tokenizer` and `answers` take the place of what
    it holds. `layer_order`, `sequential` or `parallel`, is for a METER in the layout of Hugging Face, which does not say it.

    `session` is `onnx` or `torchscript` for a bundle (default: what it has, ONNX first) and `eager` for a checkpoint or a folder; the
    demo comes as both. `provider` says where it runs: `cpu`, `cuda`, or for `onnx` another of ONNX Runtime's providers; `allow_fallback`
    lets ONNX Runtime take another one, `trust` allows TorchScript, `threads` sets the threads, at most `MAX_THREADS`.

    `lean` lets ONNX Runtime use weights where they lie, and copy none for speed (`OnnxSession`). `once` is for who explains
    once and ends: the graphs of a bundle that this runs. Threads load them and hash the weights meanwhile, and a large bundle is lean.

    Raises `BadInput` for an argument that cannot be, and `XaiError` where something is missing or does not fit.
    """
    _check_types(model, tokenizer, answers, session, provider, trust, allow_fallback, lean)
    threads = None if threads is None else whole_number(threads, "threads", 1, MAX_THREADS)
    image_size = None if image_size is None else whole_number(image_size, "image_size", 1)
    heads = None if heads is None else whole_number(heads, "heads", 1)
    found = find_model(default_model() if isinstance(model, Unnamed) else model)
    own = (image_size, heads) if found.kind == "folder" else (tokenizer, answers, image_size, heads)
    if found.kind != "checkpoint" and any(given is not None for given in own):
        raise BadInput(f"{_described(found)} brings its own tokenizer, answers, image size and heads: name a checkpoint to set them")
    if found.pulled is not None:
        tokenizer, answers = tokenizer or found.pulled.tokenizer, answers or found.pulled.answers
    _check_order(layer_order, found)
    start = time.perf_counter()
    if session == "eager" or found.kind in ("checkpoint", "folder"):
        explainer = _load_eager(found, tokenizer, answers, image_size, heads, layer_order, session, provider, threads)
    else:
        options = {"provider": provider, "threads": threads, "trust": trust, "allow_fallback": allow_fallback}
        explainer = _load_bundle(found, session, lean, once, **options)
    running = explainer.session
    seconds = time.perf_counter() - start
    LOG.info("%s: session %s, %s on %s, loaded in %.2f s", _described(found), running.name, running.precision, running.provider, seconds)
    return explainer


def _check_types(model: object, tokenizer: object, answers: object, session: object, provider: object, *switches: object) -> None:
    """Raises `BadInput` for an argument of a type that `load` does not take."""
    if not isinstance(model, str | os.PathLike | Unnamed):
        raise BadInput(f"model is {model!r}, not a name or a path: leave it out for the demo model")
    for name, value in (("tokenizer", tokenizer), ("answers", answers)):
        if not isinstance(value, str | os.PathLike | None) or value == "":
            raise BadInput(f"{name} is {value!r}, not the name of a file")
    for name, value, kinds in (("session", session, str | None), ("provider", provider, str)):
        if not isinstance(value, kinds):
            raise BadInput(f"{name} is {value!r}, not a name")
    for name, value in zip(("trust", "allow_fallback", "lean"), switches, strict=True):
        if not isinstance(value, int) or value not in (0, 1):
            raise BadInput(f"{name} is {value!r}, not True or False")


def _check_order(order: str | None, found: FoundModel) -> None:
    """Raises `BadInput` for an order of layers that is none, and for a model that has one of its own."""
    if order is not None and order not in LAYER_ORDERS:
        raise BadInput(f"layer_order is {order!r}: choose from {', '.join(LAYER_ORDERS)}")
    if order is not None and found.kind != "folder":
        raise BadInput(f"--layer-order is for a METER in the layout of Hugging Face: {_described(found)} has its own")


def load_bundle(found: FoundModel, weights_later: bool = False) -> Bundle:
    """The bundle of a name, checked (`read_bundle`), the demo's for `demo`. Raises `BadInput` for a checkpoint, `XaiError` for damage."""
    from xai.meter import demo
    from xai.runtime.bundle.reader import read_bundle

    if found.kind == "checkpoint":
        raise BadInput(f"{found.name} is a file; a bundle is a folder: xai export makes one of a checkpoint")
    if found.kind == "folder":
        raise BadInput(f"{found.name} holds a model as transformers saves it, no bundle: xai export makes one of it")
    return read_bundle(found.path or demo.BUNDLE, packaged=found.path is None, weights_later=weights_later)


def _load_bundle(found: FoundModel, session: str | None, lean: bool, once: Sequence[str], **options: Any) -> Explainer:
    from xai.meter import demo
    from xai.runtime.sessions.open import open_session

    bundle = load_bundle(found, weights_later=bool(once))
    running = open_session(bundle, session, **options, lean=lean or (bool(once) and bundle.is_large))
    running.load_ahead(once)
    remark = demo.remark if found.kind == "demo" else None
    return _explainer(running, bundle.file("tokenizer.json"), bundle.file("answers.json"), remark)


def _load_eager(
    found: FoundModel,
    tokenizer: str | Path | None,
    answers: str | Path | None,
    image_size: int | None,
    heads: int | None,
    layer_order: str | None,
    session: str | None,
    provider: str,
    threads: int | None,
) -> Explainer:
    """METER itself in PyTorch: a checkpoint's, or the demo's."""
    from xai.meter import demo

    if session not in (None, "eager"):
        raise BadInput(f"a {found.kind} runs in the session eager, not {session}: export it first (xai export)")
    if found.kind == "bundle":
        raise BadInput(f"bundle {found.name} does not run in the session eager: name the checkpoint that it was made of")
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
    if found.path is None:
        running = EagerSession(load_meter_family(demo.WEIGHTS, None), str(demo.WEIGHTS), provider)
        return _explainer(running, demo.TOKENIZER, demo.ANSWERS, demo.remark)
    if found.kind == "folder":
        from xai.models.families import find_tokenizer, load_family, read_answers

        tokenizer = tokenizer or find_tokenizer(found.path)
        running = EagerSession(load_family(found.path, cast("LayerOrder | None", layer_order)), str(found.path), provider)
        return _explainer(running, tokenizer, _answers(running.family, answers or read_answers(found.path)), None)
    running = EagerSession(load_meter_family(found.path, image_size, heads), str(found.path), provider)
    return _explainer(running, tokenizer or DEFAULT_TOKENIZER, _answers(running.family, answers), None)


def _answers(family: Family, answers: str | Path | Sequence[str] | None) -> str | Path | Sequence[str] | None:
    """The answers' names, or the file that has them: those given, sorted where the network has them so, or the network's own."""
    if answers is None or not family.sorts_answers or family.answer_names is not None:
        return family.answer_names if answers is None else answers
    from xai.runtime.answers import load_answers

    return sorted(load_answers(Path(answers), family.description.answers).names if isinstance(answers, str | os.PathLike) else answers)


def _explainer(session: Session, tokenizer: str | Path, answers: str | Path | Sequence[str] | None, remark: Remark | None) -> Explainer:
    from xai.runtime.answers import Answers, load_answers, numbered_answers
    from xai.runtime.explainer import Explainer
    from xai.runtime.inputs.question import QuestionEncoder
    from xai.runtime.inputs.tokenizer import load_tokenizer

    size = session.description
    if isinstance(answers, str | os.PathLike):
        names = load_answers(Path(answers), size.answers)
    else:
        names = numbered_answers(size.answers) if answers is None else Answers(answers)
    return Explainer(
        session,
        QuestionEncoder(load_tokenizer(tokenizer), size.max_text_tokens, size.vocab_size, f"the tokenizer {tokenizer}"),
        names,
        remark,
    )


def _hash_saved(folder: Path) -> str:
    """SHA-256 over the name and hash of each file that a folder of transformers is loaded from."""
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".bin", ".txt") and file.is_file()):
        digest.update(f"{file.name} {hash_file(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def identify(model: str | Path, session: str) -> dict[str, str]:
    """What is run, by name and hash: of a checkpoint, of a bundle's manifest, which holds those of its files, or of a folder's files."""
    from xai.meter import demo

    found = find_model(model)
    if found.path is None:
        file, name = (demo.WEIGHTS if session == "eager" else demo.BUNDLE / "manifest.json"), DEMO
    else:
        file, name = (found.path / "manifest.json" if found.kind == "bundle" else found.path), found.path.name
    try:
        return {"name": name, "sha256": _hash_saved(file) if found.kind == "folder" else hash_file(file)}
    except OSError as error:
        raise XaiError(f"{file} cannot be read: {error.strerror}") from error
