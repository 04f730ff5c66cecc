from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from xai.base.errors import XaiError
from xai.meter.checkpoint import load_meter, read_checkpoint, save_meter
from xai.meter.vision import resize_positions


@pytest.fixture
def state(tiny) -> dict[str, Tensor]:
    return read_checkpoint(tiny.checkpoint).tensors


@pytest.fixture
def changed(state: dict[str, Tensor], tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint with some tensors replaced, or left out where None."""

    def write(**changes: Tensor | None) -> Path:
        tensors = state | {name.replace("__", "."): value for name, value in changes.items()}
        path = tmp_path / "changed.pt"
        torch.save({name: t for name, t in tensors.items() if t is not None}, path)
        return path

    return write


class Hostile:
    """Unpickled, it would run a command that leaves a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def test_reads_a_lightning_checkpoint_whose_classes_are_not_installed(tiny) -> None:
    with pytest.warns(UserWarning, match="7 tensors are not METER.s"):
        model = load_meter(tiny.checkpoint)
    assert model.config.heads == tiny.content["config"]["heads"]
    assert model.config.image_size == tiny.content["checkpoint_image_size"]
    assert not any(p.requires_grad for p in model.parameters())


def test_heads_come_from_the_width_where_the_file_does_not_tell(state, tmp_path) -> None:
    torch.save(state, tmp_path / "bare.pt")
    with pytest.warns(UserWarning, match="left out"):
        assert load_meter(tmp_path / "bare.pt").config.heads == 1


def test_safetensors_round_trip(tiny, tmp_path, recwarn) -> None:
    model = tiny.explainer.session.family.model
    save_meter(model, tmp_path / "meter.safetensors")
    again = load_meter(tmp_path / "meter.safetensors")
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    assert not recwarn.list  # every tensor written is METER's


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("inside", ["hyper_parameters", "state_dict", "top"])
def test_a_hostile_pickle_does_not_run(tmp_path, state, legacy, inside) -> None:
    trace = tmp_path / "trace"
    content: object = {"state_dict": dict(state), "hyper_parameters": {}}
    match inside:
        case "hyper_parameters":
            content["hyper_parameters"]["config"] = Hostile(trace)
        case "state_dict":
            content["state_dict"]["evil"] = Hostile(trace)
        case "top":
            content = Hostile(trace)
    path = tmp_path / "hostile.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    if inside == "top":
        with pytest.raises(XaiError, match="not a METER checkpoint"):
            load_meter(path)
    else:
        with pytest.warns(UserWarning, match="left out"):
            load_meter(path)
    assert not trace.exists()


def test_a_plain_hostile_pickle_does_not_run(tmp_path) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Hostile(trace)))
    with pytest.raises(XaiError, match=r"plain\.ckpt"):
        load_meter(tmp_path / "plain.ckpt")
    assert not trace.exists()


COMMAND = b"touch trace"
PICKLES = {  # each opcode that can name or call something, and lengths that no file holds
    "inst": b"(S'" + COMMAND + b"'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'" + COMMAND + b"'\no.",
    "stack-global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0b" + COMMAND + b"\x85R.",
    "newobj": b"\x80\x02cos\nsystem\nS'" + COMMAND + b"'\n\x85\x81.",
    "build": b"\x80\x02cos\nsystem\n)\x81}X\x05\x00\x00\x00aaaaaK\x01sb.",
    "build-slots": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x08\x00\x00\x00__code__K\x01s\x86b.",
    "dotted": b"\x80\x04\x8c\x05torch\x8c\x15FloatStorage.from_file\x93.",
    "huge-storage": b"\x80\x02ctorch\nFloatStorage\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.",
    "persistent-id-int": b"\x80\x02K\x05Q.",
    "persistent-id-foreign": b"\x80\x02(X\x07\x00\x00\x00storagecos\nsystem\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ.",
    "huge-bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "huge-bytearray": b"\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.",
    "extension": b"\x80\x02\x82\x01.",
    "own-state": b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dicth\x00s.",
}


@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
@pytest.mark.parametrize("name", PICKLES)
def test_no_opcode_runs_anything_and_every_file_ends_in_one_line(tmp_path, monkeypatch, name, form) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.ckpt"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for part, content in {"data.pkl": PICKLES[name], "version": b"3\n", "byteorder": b"little", "data/0": bytes(16)}.items():
                archive.writestr(f"archive/{part}", content)
    else:
        magic, system = 0x1950A86A20F9469CFC6C, {"little_endian": True, "protocol_version": 1001, "type_sizes": {}}
        head = b"".join(pickle.dumps(part, 2) for part in (magic, 1001, system)) if form == "legacy" else b""
        path.write_bytes(head + PICKLES[name] + (pickle.dumps([], 2) if form == "legacy" else b""))
    with pytest.raises(XaiError) as caught:
        load_meter(path)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["hostile.ckpt"]


def test_torchscript_is_not_run(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for part in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"archive/{part}", b"\x80\x02}.")
    with pytest.raises(XaiError, match="is TorchScript, not a checkpoint"):
        load_meter(tmp_path / "script.pt")


@pytest.mark.parametrize("kind", ["sparse", "repeated"])
def test_a_tensor_that_the_file_does_not_hold_whole_is_missing(changed, kind) -> None:
    value = torch.zeros(64, 64).to_sparse() if kind == "sparse" else torch.zeros(1).expand(64, 64)
    with pytest.raises(XaiError, match=r"lacks cross_modal_text_pooler\.dense\.weight"):
        load_meter(changed(cross_modal_text_pooler__dense__weight=value))


@pytest.mark.parametrize(
    "changes",
    [
        {"vit_model__visual__positional_embedding": torch.zeros(38, 128)},
        {"vit_model__visual__positional_embedding": torch.zeros(1, 128)},
        {"vit_model__visual__positional_embedding": torch.zeros(0, 128)},
        {"vit_model__visual__conv1__weight": torch.zeros(128, 3, 0, 0)},
        {"text_transformer__embeddings__position_embeddings__weight": torch.zeros(3, 128)},
    ],
)
@pytest.mark.parametrize("size", [None, 64])
def test_sizes_that_are_no_network_are_refused(changed, changes, size) -> None:
    with pytest.raises(XaiError, match="no square grid with a class token and a question"):
        load_meter(changed(**changes), size)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_named(tiny, tmp_path, share) -> None:
    content = tiny.checkpoint.read_bytes()
    path = tmp_path / "half.ckpt"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(XaiError, match=r"half\.ckpt is not a readable checkpoint"):
        load_meter(path)


def test_missing_tensors_are_listed(changed) -> None:
    path = changed(cross_modal_text_pooler__dense__bias=None, vqa_classifier__0__weight=None)
    with pytest.raises(XaiError, match=r"lacks cross_modal_text_pooler\.dense\.bias, vqa_classifier\.0\.weight"):
        load_meter(path)


def test_another_model_is_refused(tmp_path) -> None:
    torch.save({"bert.embeddings.word_embeddings.weight": torch.zeros(3, 4)}, tmp_path / "bert.pt")
    with pytest.raises(XaiError, match="not a METER checkpoint: it lacks"):
        load_meter(tmp_path / "bert.pt")


def test_a_tensor_of_another_shape_is_named(changed) -> None:
    with pytest.raises(XaiError, match=r"tensor vqa_classifier\.0\.bias has shape \[3\]"):
        load_meter(changed(vqa_classifier__0__bias=torch.zeros(3)))


def test_weights_that_are_not_numbers_are_named(changed, state) -> None:
    broken = state["cross_modal_text_pooler.dense.bias"].clone()
    broken[0] = float("nan")
    with pytest.raises(XaiError, match=r"NaN or infinite: cross_modal_text_pooler\.dense\.bias"):
        load_meter(changed(cross_modal_text_pooler__dense__bias=broken))


@pytest.mark.parametrize(("size", "message"), [(100, "not a multiple of the patch size 16"), (8, "not a multiple")])
def test_image_size_must_fit_the_patches(tiny, size, message) -> None:
    with pytest.raises(XaiError, match=message):
        load_meter(tiny.checkpoint, size)


def test_files_that_are_not_there(tmp_path) -> None:
    with pytest.raises(XaiError, match="does not exist"):
        load_meter(tmp_path / "none.ckpt")
    with pytest.raises(XaiError, match="is a folder"):
        load_meter(tmp_path)
    (tmp_path / "bad.safetensors").write_bytes(b"not safetensors at all")
    with pytest.raises(XaiError, match="not a readable safetensors file"):
        load_meter(tmp_path / "bad.safetensors")


def test_resized_positions_keep_the_class_row_and_a_constant_stays_constant() -> None:
    positions = torch.randn(1 + 36, 8)
    resized = resize_positions(positions, 9)
    assert resized.shape == (1 + 81, 8)
    assert torch.equal(resized[0], positions[0])
    assert torch.equal(resize_positions(positions, 6), positions)
    assert torch.allclose(resize_positions(torch.ones(1 + 36, 8), 13), torch.ones(1 + 169, 8), atol=1e-6)
