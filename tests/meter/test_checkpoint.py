from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from xai.base.errors import XaiError
from xai.meter.checkpoint import load_meter, read_checkpoint, save_meter
from xai.meter.config import HEAD_WIDTH, PUBLISHED_HEADS, MeterConfig
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
        content = {"state_dict": {name: t for name, t in tensors.items() if t is not None}}
        torch.save(content | {"hyper_parameters": {"config": {"num_heads": 4}}}, path)
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


@pytest.fixture
def sized(state, tmp_path) -> Callable[..., Path]:
    """Writes a checkpoint, as a file of its kind says (or does not say) how many heads it has."""

    def write(kind: str, heads: object) -> Path:
        path = tmp_path / f"sized.{'safetensors' if kind == 'safetensors' else 'ckpt'}"
        if kind == "safetensors":
            save_file({name: t.clone() for name, t in state.items()}, path, metadata=None if heads is None else {"num_heads": str(heads)})
        else:
            said = {} if heads is None else {"hyper_parameters": {"config": {"num_heads": heads}}}
            torch.save({"state_dict": state, **said}, path, pickle_protocol=4)
        return path

    return write


KINDS = ["safetensors", "lightning"]


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize("kind", KINDS)
def test_heads_are_the_files_own_or_those_asked_for(sized, kind) -> None:
    own, asked = load_meter(sized(kind, 4)), load_meter(sized(kind, None), heads=2)
    assert (own.config.heads, own.config.heads_from) == (4, "checkpoint")
    assert (asked.config.heads, asked.config.heads_from) == (2, "option")
    with pytest.raises(XaiError, match=r"has 4 cross-modal heads, as it says itself, not the 2"):
        load_meter(sized(kind, 4), heads=2)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_are_not_guessed_for_a_width_that_was_not_published(sized, kind) -> None:
    with pytest.raises(XaiError, match=r"does not say how many heads .* no METER of width 64 was published: say how many with --heads N"):
        load_meter(sized(kind, None))


@pytest.mark.filterwarnings("ignore:.*left out")
def test_heads_of_the_published_width_are_assumed_with_a_warning(monkeypatch, sized) -> None:
    monkeypatch.setitem(PUBLISHED_HEADS, 64, 8)
    words = r"does not say how many heads .* 8 are assumed, as the published METER of width 64 has; --heads N says another"
    with pytest.warns(UserWarning, match=words):
        model = load_meter(sized("safetensors", None))
    assert (model.config.heads, model.config.heads_from) == (8, "published")
    assert PUBLISHED_HEADS[768] == 768 // HEAD_WIDTH


NONSENSE = ["4", "x", 4.0, [4], True, 0, -4, 65, 10**5000, 2**70, b"4"]


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize("value", NONSENSE, ids=[f"{type(value).__name__}{i}" for i, value in enumerate(NONSENSE)])
def test_a_number_of_heads_that_is_none_is_refused_until_somebody_says_another(sized, value) -> None:
    path = sized("lightning", value)
    with pytest.raises(XaiError, match="num_heads that is no number of heads") as raised:
        load_meter(path)
    assert len(str(raised.value)) < 300
    assert load_meter(path, heads=4).config.heads == 4


@pytest.mark.parametrize("value", ["x", "4.0", "-4", "0", "65", "٤", "", "9" * 5000])
def test_text_that_is_no_number_of_heads_is_refused(sized, value) -> None:
    with pytest.raises(XaiError, match="num_heads that is no number of heads") as raised:
        load_meter(sized("safetensors", value))
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("heads", [3, 65])
def test_heads_must_divide_the_width(sized, heads) -> None:
    with pytest.raises(XaiError, match=f"hidden width 64 does not divide into {heads} attention heads"):
        load_meter(sized("safetensors", None), heads=heads)


def test_the_encoders_heads_are_64_wide_or_refused() -> None:
    sizes = {"image_size": 32, "patch_size": 8, "vision_layers": 1, "vision_mlp": 8, "vocab_size": 9, "max_positions": 9, "text_layers": 1}
    sizes |= {"text_mlp": 8, "hidden": 8, "heads": 2, "layers": 1, "mlp": 8, "answers": 2}
    assert MeterConfig(vision_width=128, text_width=64, **sizes).vision_heads == 2
    for widths in ({"vision_width": 130, "text_width": 64}, {"vision_width": 64, "text_width": 32}):
        with pytest.raises(ValueError, match="does not divide into attention heads of 64"):
            MeterConfig(**widths, **sizes)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


def test_a_damaged_weight_is_found_by_its_checksum(tiny, tmp_path) -> None:
    path = Path(shutil.copy(tiny.checkpoint, tmp_path / "damaged.ckpt"))
    with zipfile.ZipFile(path) as archive:
        part = max(archive.infolist(), key=lambda part: part.file_size)
    flip(path, part.header_offset + 200 + part.file_size // 2)
    with pytest.raises(XaiError, match=f"damaged.ckpt is damaged: its part {part.filename} is not what its checksum says"):
        load_meter(path)


def test_any_byte_of_the_archives_directory_is_one_line_or_the_same_weights(tiny, tmp_path) -> None:
    path = tmp_path / "damaged.ckpt"
    content = tiny.checkpoint.read_bytes()
    with zipfile.ZipFile(tiny.checkpoint) as archive:
        start = archive.start_dir
    whole, refused = read_checkpoint(tiny.checkpoint).tensors, 0
    for place in np.random.default_rng(0).choice(np.arange(start, len(content)), 60, replace=False):
        path.write_bytes(content)
        flip(path, int(place))
        try:
            found = read_checkpoint(path).tensors
        except XaiError as error:
            assert "\n" not in str(error)
            refused += 1
        else:  # a date, a flag of the file system
            assert all(torch.equal(found[name], value) for name, value in whole.items())
    assert refused > 20


def test_an_archive_without_checksums_is_read_with_a_warning(state, tmp_path) -> None:
    with torch.utils.serialization.config.patch({"save.compute_crc32": False}):
        torch.save(state, tmp_path / "unchecked.pt")
    with pytest.warns(UserWarning, match="saved without checksums"):
        found = read_checkpoint(tmp_path / "unchecked.pt")
    assert all(torch.equal(found.tensors[name], value) for name, value in state.items())


@pytest.mark.parametrize("change", [lambda data: data[:0], lambda data: data[: len(data) // 2], lambda data: data + data])
def test_a_part_of_another_length_is_refused_though_its_checksum_fits(tiny, tmp_path, change) -> None:
    with zipfile.ZipFile(tiny.checkpoint) as whole, zipfile.ZipFile(tmp_path / "changed.ckpt", "w") as changed:
        largest = max(whole.infolist(), key=lambda part: part.file_size).filename
        for name in whole.namelist():
            changed.writestr(name, change(whole.read(name)) if name == largest else whole.read(name))
    with pytest.raises(XaiError, match=r"changed\.ckpt is (damaged: a part of it is shorter or longer|not a readable checkpoint)"):
        load_meter(tmp_path / "changed.ckpt")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_names_that_no_file_can_have(name) -> None:
    with pytest.raises(XaiError, match=r"checkpoint .* (cannot be read|does not exist)"):
        load_meter(Path(name))


def test_a_compressed_archive_is_refused(tiny, tmp_path) -> None:
    with zipfile.ZipFile(tiny.checkpoint) as whole, zipfile.ZipFile(tmp_path / "small.ckpt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    with pytest.raises(XaiError, match="compressed archive"):
        load_meter(tmp_path / "small.ckpt")


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_weights_that_are_no_floating_point_numbers_are_refused(changed, state, dtype) -> None:
    name = "cross_modal_text_pooler.dense.weight"
    with pytest.raises(XaiError, match=rf"holds {name} as {str(dtype).removeprefix('torch.')}, not as floating-point weights"):
        load_meter(changed(cross_modal_text_pooler__dense__weight=state[name].to(dtype)))


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_floating_point_type_are_read(changed, state, dtype) -> None:
    name = "cross_modal_text_pooler.dense.weight"
    found = load_meter(changed(cross_modal_text_pooler__dense__weight=state[name].to(dtype))).state_dict()[name]
    assert torch.equal(found, state[name].to(dtype).float())


def test_safetensors_round_trip(tiny, tmp_path, recwarn) -> None:
    model = tiny.explainer.session.model
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
            load_meter(path, heads=4)
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
