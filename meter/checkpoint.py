"""Checkpoint files -> a ready `Meter`, without executing anything in them.

Tensor names in memory are those of the published file, but for a Swin encoder's (`swin.fit_swin`). Sizes come from the tensors.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from xai.base.errors import XaiError, first_line
from xai.meter.config import MeterConfig
from xai.meter.model import Meter
from xai.meter.sizes import POSITIONS, Checkpoint, read_config
from xai.meter.swin import fit_swin
from xai.meter.vision import resize_positions

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What weights may be stored as. An integer is half of a quantised weight: its scale is not read here."""

_LISTED = 5  # names shown in a message before "and n more"


def load_meter(path: Path, image_size: int | None = None, heads: int | None = None) -> Meter:
    """The network of a checkpoint (Lightning `.ckpt`, a bare state dict, or `.safetensors`), in float32, for inference.

    `image_size` in pixels; another than the checkpoint's interpolates the position embedding. `heads` across modalities, for a
    file that does not say how many; where nobody says, the published number is taken for the published width, with a warning.
    Parameters need no gradient. Warns once, with their names, of tensors that METER does not use.

    Raises `XaiError` where the file is not a readable METER checkpoint or was damaged, lists what it lacks, and where weights
    are not finite or no floating-point numbers.
    """
    checkpoint = read_checkpoint(path)
    return build_meter(checkpoint, read_config(checkpoint, path, image_size, heads), path)


def build_meter(checkpoint: Checkpoint, config: MeterConfig, path: Path) -> Meter:
    """The network of those sizes with the weights of a file, which `path` names in messages. Raises and warns as `load_meter`."""
    with torch.device("meta"):
        model = Meter(config)
    wanted = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    if others := [name for name, t in checkpoint.tensors.items() if name in wanted and t.dtype not in FLOATS]:
        stored = str(checkpoint.tensors[others[0]].dtype).removeprefix("torch.")
        raise XaiError(f"{path} holds {others[0]} as {stored}, not as floating-point weights: take the checkpoint that was not quantised")
    tensors = {name: t.float() if name in wanted else t for name, t in checkpoint.tensors.items()}
    if config.swin is None:
        tensors[POSITIONS] = resize_positions(tensors[POSITIONS], config.grid)
    else:
        tensors = fit_swin(tensors, config.grid)
    if missing := [name for name in wanted if name not in tensors]:
        raise XaiError(f"{path} is not a complete METER checkpoint: it lacks {_names(missing)}")
    if wrong := [name for name, shape in wanted.items() if tuple(tensors[name].shape) != shape]:
        name = wrong[0]
        raise XaiError(f"{path} is not a METER checkpoint: tensor {name} has shape {list(tensors[name].shape)}, not {list(wanted[name])}")
    if broken := [name for name in wanted if not torch.isfinite(tensors[name]).all()]:
        raise XaiError(f"{path} has weights that are NaN or infinite: {_names(broken)}; download or export it again")
    if unused := [name for name in tensors if name not in wanted]:
        warnings.warn(f"{path}: {len(unused)} tensors are not METER's and were left out: {_names(unused)}", stacklevel=3)
    model.load_state_dict({name: tensors[name] for name in wanted}, assign=True)
    return model.requires_grad_(False).eval()


def save_meter(model: Meter, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights as safetensors, in that precision; `load_meter` reads them back."""
    tensors = {name: t.detach().to(dtype).contiguous() for name, t in model.state_dict().items()}
    save_file(tensors, path, metadata={"num_heads": str(model.config.heads)})


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a checkpoint file. Raises `XaiError` where it cannot be read."""
    try:
        found = path.is_file() or path.exists()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        raise XaiError(f"checkpoint {path} cannot be read: {first_line(error)}") from error
    if not path.is_file():
        raise XaiError(f"checkpoint {path} is a folder, not a file" if found else f"checkpoint {path} does not exist")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    parts = _check_archive(path) if _is_zip(path) else None
    try:
        content = _read_pickle(path)
    except Exception as error:  # a damaged or hostile file may end in any: an assertion, an overflow, no memory
        raise XaiError(f"{path} is not a readable checkpoint: {first_line(error)}; is the download complete?") from error
    if not isinstance(content, Mapping):
        raise XaiError(f"{path} is not a METER checkpoint: it holds a {type(content).__name__}, not a table of tensors")
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping):
        raise XaiError(f"{path} is not a METER checkpoint: its state_dict is a {type(state).__name__}")
    tensors = {name: value for name, value in state.items() if isinstance(name, str) and _is_plain(value)}
    if parts is not None:
        stored = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors.values()}
        if Counter(stored.values()) - parts:  # PyTorch would read on into what follows
            raise XaiError(f"{path} is damaged: a part of it is shorter or longer than its tensor; download or copy it again")
    return Checkpoint(tensors, _setting(content, "num_heads"), _setting(content, "val_transform_keys"))


def _is_plain(value: object) -> bool:
    """Whether a value is a tensor of numbers that the file really holds: neither sparse nor quantised nor a view that repeats."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not (value.is_quantized or value.is_nested)
        and value.device.type == "cpu"
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:  # of safetensors, or of PyTorch where a tensor's type is newer than it
        raise XaiError(f"{path} is not a readable safetensors file: {first_line(error)}") from error
    heads = metadata.get("num_heads")  # always text
    return Checkpoint(tensors, int(heads) if heads is not None and re.fullmatch("[0-9]{1,9}", heads) else heads)


def _setting(content: Mapping[str, Any], name: str) -> object:
    """`hyper_parameters["config"][name]`, if it is there."""
    value: Any = content
    for key in ("hyper_parameters", "config", name):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


class _Inert(dict[object, object]):
    """Stands in for a class or function that a checkpoint names and that is no part of a tensor.

    It runs nothing. It keeps items set on it, because METER's configuration is a dictionary of a foreign class.
    """

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> _Inert:
        return self

    def append(self, item: object) -> None:
        pass

    def extend(self, items: Iterable[object]) -> None:
        pass

    def __hash__(self) -> int:  # type: ignore[override]  # it may be a key in the file's own dictionaries
        return id(self)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}


class _InertUnpickler(pickle.Unpickler):
    """Rebuilds tensors; everything else that the file names becomes `_Inert`, and no code of the file's choice runs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module == "torch" and name.endswith("Storage") and name.isidentifier():
            return getattr(torch, name)
        return _Inert


def _inert_load(file: BinaryIO, **kwargs: Any) -> Any:
    return _InertUnpickler(file, **kwargs).load()


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)  # what it cannot read goes on below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError:
        # `weights_only` refuses files that name other classes, as METER's do. Lightning's hyper-parameters are such.
        reader = SimpleNamespace(Unpickler=_InertUnpickler, load=_inert_load, __name__="inert_pickle")
        return torch.load(path, map_location="cpu", weights_only=False, mmap=_is_zip(path), pickle_module=reader)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _check_archive(path: Path) -> Counter[int]:
    """How often each length occurs among the parts of a zip archive, read against its checksums: PyTorch maps weights into memory,
    and looks at neither.

    Raises `XaiError` where one does not fit, where the archive is compressed, which `torch.save` never does, and where it is
    TorchScript, which has a table of constants. Warns of one without checksums (`torch.save` can be told to leave them out).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            foreign = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
            script = any(part.filename.endswith("/constants.pkl") for part in parts)
            unchecked = all(part.CRC == 0 for part in parts)
            damaged = None if foreign or script or unchecked else archive.testzip()
    except Exception as error:  # zipfile gives up in many ways: an unknown version, a password, a name that is not text
        raise XaiError(f"{path} is not a readable checkpoint: {first_line(error)}; is the download complete?") from error
    if script:
        raise XaiError(f"{path} is TorchScript, not a checkpoint: it is code, and is not run")
    if foreign:
        raise XaiError(f"{path} is a compressed archive, not a checkpoint: unpack it first")
    if damaged is not None:
        raise XaiError(f"{path} is damaged: its part {damaged} is not what its checksum says; download or copy it again")
    if unchecked:
        warnings.warn(f"{path} was saved without checksums: whether it was damaged since cannot be told", stacklevel=4)
    return Counter(part.file_size for part in parts)


def _names(names: list[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
