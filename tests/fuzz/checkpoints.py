"""Checkpoints: the archive's bytes, what is pickled in it, its tensors and its configuration."""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import pickle
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from xai.base.wording import one_line
from xai.tests.fuzz.material import Material, sane
from xai.tests.fuzz.mutate import ODD, damaged, dumped, flip, mutate_json
from xai.tests.fuzz.oracle import Call, Case, Expect

HEADS = (
    0,
    1,
    2,
    3,
    8,
    64,
    -4,
    4.0,
    "4",
    [4],
    "x",
    True,
    None,
    float("nan"),
    10**5000,
    {"n": 4},
    b"4",
    (4,),
    4.5,
    np.int64(4),
    torch.tensor(4),
)
"""Numbers of heads; the checkpoint has 4, as an int."""


class Marker:
    """Makes a file when it is unpickled by whoever runs what a pickle says."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


class Checkpoints:
    """The fuzzer of checkpoints: the tiny model with generated weights."""

    name = "checkpoints"

    def __init__(self, material: Material) -> None:
        self.material = material
        kinds = (self.crc, self.crc, self.repaired, self.members, self.heads, self.heads, self.config, self.tensor, self.tensor,
                 self.dtype, self.wrap, self.form, self.hostile, self.cut, self.safetensors, self.safetensors, self.header,
                 self.no_file, self.size)  # fmt: skip
        self.kinds: tuple[Callable[[random.Random, Path], Case], ...] = kinds

    def case(self, rng: random.Random, folder: Path) -> Case:
        return rng.choice(self.kinds)(rng, folder)

    def crc(self, rng: random.Random, folder: Path) -> Case:
        """Bytes changed anywhere, as a disk or a download changes them."""
        raw = self.material.tiny.read_bytes()
        changed, what = damaged(rng, raw)
        if rng.random() < 0.3:
            at = rng.randrange(len(raw) - 100_000)
            changed, what = raw[:at] + b"\0" * 98_000 + raw[at + 98_000 :], f"98 KB zeroed at {at}"
        return self.raw(folder, changed, f"archive damaged · {what}", Expect.FAITHFUL)

    def repaired(self, rng: random.Random, folder: Path) -> Case:
        """A member changed, the archive being whole."""
        members = self.archive()
        name = rng.choice([name for name in members if not name.endswith("/version")])
        kind = "pickle" if name.endswith("data.pkl") else "tensor" if "/data/" in name else Path(name).name
        if kind == "pickle":
            members[name] = flip(rng, members[name], times=rng.choice((1, 1, 3)))
        else:
            members[name], _ = damaged(rng, members[name])
        return self.raw(folder, packed(members), f"{kind} changed, CRC right · {name}", Expect.EITHER)

    def members(self, rng: random.Random, folder: Path) -> Case:
        members = self.archive()
        name = rng.choice(list(members))
        what = rng.choice(("gone", "empty", "compressed", "added", "twice", "renamed", "called ../x"))
        if what == "gone":
            del members[name]
        elif what == "empty":
            members[name] = b""
        elif what == "added":
            members[rng.choice(("meter/extra", "../x", "/etc/x", "meter/constants.pkl", "meter/code/x.py"))] = b"x"
        elif what in ("renamed", "called ../x"):
            members[f"{name}x" if what == "renamed" else "../x"] = members.pop(name)
        raw = packed(members, zipfile.ZIP_DEFLATED if what == "compressed" else zipfile.ZIP_STORED, twice=name if what == "twice" else None)
        return self.raw(folder, raw, f"member {what} · {name}", Expect.EITHER)

    def cut(self, rng: random.Random, folder: Path) -> Case:
        raw = self.material.tiny.read_bytes()
        return self.raw(folder, raw[: rng.randrange(len(raw) - 30)], "cut short · ", Expect.REFUSED)

    def archive(self) -> dict[str, bytes]:
        with zipfile.ZipFile(self.material.tiny) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def heads(self, rng: random.Random, folder: Path) -> Case:
        """What the checkpoint says of its heads; a quarter of the time `heads=4` is asked for, which no count of its own may gainsay."""
        heads, asked = rng.choice(HEADS), rng.random() < 0.25
        shown = "10**5000" if isinstance(heads, int) and heads > 10**10 else repr(heads)
        possible = type(heads) is int and 1 <= heads <= 64
        expect = Expect.SAME if type(heads) is int and heads == 4 else Expect.EITHER if possible else Expect.FAITHFUL
        if asked:
            expect = Expect.REFUSED if possible and heads != 4 else Expect.FAITHFUL
            return self.content(folder, self.full(heads), f"num_heads, 4 asked for · {shown}", expect, heads=4)
        return self.content(folder, self.full(heads), f"num_heads · {shown}", expect)

    def config(self, rng: random.Random, folder: Path) -> Case:
        """The same configuration in another container, or none."""
        found: dict[str, Any] = {
            "a namespace": {"config": argparse.Namespace(num_heads=4)},
            "an ordered dictionary": {"config": collections.OrderedDict(num_heads=4)},
            "a default dictionary": {"config": collections.defaultdict(int, num_heads=4)},
            "a list": {"config": [("num_heads", 4)]},
            "text": {"config": "num_heads=4"},
            "nothing": {},
            "None": None,
            "a level too deep": {"config": {"config": {"num_heads": 4}}},
            "without a config": {"num_heads": 4},
            "another spelling": {"config": {"NUM_HEADS": 4}},
            "odd neighbours": {"config": {"num_heads": 4, "x": list(ODD), 7: None, None: 3, (1, 2): "y"}},
        }
        what = rng.choice(list(found))
        content = {"state_dict": dict(self.material.tiny_state), "hyper_parameters": found[what]}
        return self.content(
            folder,
            content,
            f"configuration: {what} · ",
            Expect.SAME if what in ("odd neighbours", "an ordered dictionary") else Expect.FAITHFUL,
        )

    def wrap(self, rng: random.Random, folder: Path) -> Case:
        """The table of tensors elsewhere, or of another type."""
        state = dict(self.material.tiny_state)
        hyper = {"hyper_parameters": {"config": {"num_heads": 4}}}
        found: dict[str, tuple[Any, Expect]] = {
            "named model": ({"model": state} | hyper, Expect.FAITHFUL),
            "prefixed": ({"state_dict": {f"model.{k}": v for k, v in state.items()}} | hyper, Expect.FAITHFUL),
            "a list": ({"state_dict": list(state.items())} | hyper, Expect.FAITHFUL),
            "ordered": ({"state_dict": collections.OrderedDict(state)} | hyper, Expect.SAME),
            "empty": ({"state_dict": {}} | hyper, Expect.REFUSED),
            "None": ({"state_dict": None} | hyper, Expect.REFUSED),
            "a tensor": (torch.zeros(3), Expect.REFUSED),
            "text": ("x", Expect.REFUSED),
            "a number": (7, Expect.REFUSED),
            "odd keys": ({"state_dict": state | {7: torch.zeros(1), None: 1, ("a",): 2}} | hyper, Expect.SAME),
            "odd values": ({"state_dict": state | {"x": None, "y": "z", "w": [1]}} | hyper, Expect.SAME),
            "parameters": ({"state_dict": {k: torch.nn.Parameter(v) for k, v in state.items()}} | hyper, Expect.SAME),
        }
        what = rng.choice(list(found))
        content, expect = found[what]
        return self.content(folder, content, f"tensors {what} · ", expect)

    def tensor(self, rng: random.Random, folder: Path) -> Case:
        """One tensor lost, added, renamed, of another shape, or with a value that is no weight."""
        state = dict(self.material.tiny_state)
        name = rng.choice(list(state))
        old = state[name]
        made: dict[str, Callable[[], Any]] = {
            "NaN": lambda: torch.full_like(old, torch.nan),
            "one infinity": lambda: old.flatten().index_fill(0, torch.tensor([0]), torch.inf).reshape(old.shape),
            "too short": lambda: old[:-1],
            "empty": lambda: old[:0],
            "a row more": lambda: torch.cat([old, old[:1]]),
            "flat": lambda: old.flatten()[None],
            "a scalar": lambda: torch.tensor(1.0),
            "a dimension more": lambda: old[None],
            "repeating": lambda: torch.zeros(1).expand(old.shape),
            "a list": lambda: old.tolist(),
            "an array": lambda: old.numpy(),
            "None": lambda: None,
            "sparse": lambda: old.to_sparse(),
            "quantised": lambda: torch.quantize_per_tensor(old, 0.1, 0, torch.qint8),
            "complex": lambda: old.to(torch.complex64),
            "meta": lambda: old.to("meta"),
        }
        what = rng.choice((*made, "gone", "renamed"))
        if what in ("gone", "renamed"):
            del state[name]
            state |= {f"{name}x": old} if what == "renamed" else {}
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch deprecates
                state[name] = made[what]()
        expect = (
            Expect.EITHER
            if what in ("too short", "empty", "a row more", "repeating", "a dimension more", "flat", "an array")
            else Expect.REFUSED
        )
        return self.content(folder, self.full(4, state), f"a tensor {what} · {name}", expect)

    def dtype(self, rng: random.Random, folder: Path) -> Case:
        state = dict(self.material.tiny_state)
        dtype = rng.choice((torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool,
        torch.complex64,
                            torch.float8_e4m3fn))  # fmt: skip
        names = list(state) if rng.random() < 0.5 else [rng.choice(list(state))]
        state |= {name: state[name].to(dtype) for name in names}
        expect = Expect.SAME if dtype is torch.float64 else Expect.EITHER if dtype in (torch.float16, torch.bfloat16) else Expect.REFUSED
        whole = "all tensors" if len(names) > 1 else "one tensor"
        return self.content(folder, self.full(4, state), f"{whole} {str(dtype)[6:]} · {names[0]}", expect)

    def form(self, rng: random.Random, folder: Path) -> Case:
        """The same content, saved otherwise."""
        protocol = rng.choice((2, 3, 4, 5))
        if rng.random() < 0.5:
            buffer = io.BytesIO()
            torch.save(self.full(4), buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=rng.random() < 0.5)
            return self.raw(
                folder,
                buffer.getvalue(),
                f"saved otherwise · protocol {protocol}",
                Expect.SAME,
                rng.choice(("a.ckpt", "a.pt", "a.bin", "a.CKPT", "a")),
            )
        raw = pickle.dumps({"state_dict": {k: v.numpy() for k, v in self.material.tiny_state.items()}}, protocol)
        return self.raw(folder, raw, f"a plain pickle · protocol {protocol}", Expect.REFUSED)

    def hostile(self, rng: random.Random, folder: Path) -> Case:
        """What would run code, recurse without end or fill the memory."""
        endless: dict[str, Any] = {}
        endless["hyper_parameters"] = {"config": endless}
        endless |= {"state_dict": dict(self.material.tiny_state), "config": endless, "num_heads": 4}
        deep = b"\x80\x02" + b"(" * 100_000 + b"l" * 100_000 + b"."
        found: dict[str, Any] = {
            "code": self.full(4) | {"x": Marker()},
            "endless": endless,
            "deep": deep,
            "a huge string": b"\x80\x02X\xff\xff\xff\x7f.",
            "a huge integer": b"\x80\x02\x8b\xff\xff\xff\x7f.",
            "a bare reduce": b"cos\nmkdir\n(Vexecuted\ntR.",
            "a memo of nothing": b"\x80\x02h\xff.",
            "a persistent id": b"\x80\x02X\x01\0\0\0aQ.",
        }
        what = rng.choice(list(found))
        content = found[what]
        if isinstance(content, bytes):
            raw = content if rng.random() < 0.5 else packed({"a/data.pkl": content, "a/version": b"3\n", "a/byteorder": b"little"})
            return self.raw(folder, raw, f"hostile: {what} · ", Expect.REFUSED)
        return self.content(folder, content, f"hostile: {what} · ", Expect.FAITHFUL)

    def safetensors(self, rng: random.Random, folder: Path) -> Case:
        heads = rng.choice((*HEADS, 4, 4, 4))
        text = "9" * 5000 if isinstance(heads, int) and heads > 10**10 else str(heads)
        kept = {} if rng.random() < 0.2 else {"num_heads": text}
        raw = save(self.material.tiny_state, kept)
        what = rng.choice(("metadata", "damaged"))
        if what == "damaged":
            raw, how = damaged(rng, raw)
            return self.raw(folder, raw, f"safetensors damaged · {how}", Expect.EITHER, "a.safetensors")
        expect = Expect.SAME if kept and text == "4" else Expect.FAITHFUL if text not in ("1", "2", "8", "64") else Expect.EITHER
        return self.raw(folder, raw, f"safetensors num_heads · {text[:20] if kept else 'missing'}", expect, "a.safetensors")

    def header(self, rng: random.Random, folder: Path) -> Case:
        raw = save(self.material.tiny_state, {"num_heads": "4"})
        (length,) = struct.unpack("<Q", raw[:8])
        content, what = mutate_json(rng, json.loads(raw[8 : 8 + length]))
        head = dumped(content)
        if rng.random() < 0.1:
            head, what = rng.choice(((b"[" * 100_000, "[ x 100,000"), (b"9" * 5000, "digits"), (b"", "empty")))
        length = rng.choice((len(head),) * 9 + (2**63, len(raw), 0))
        made = struct.pack("<Q", length) + head + raw[8 + struct.unpack("<Q", raw[:8])[0] :]
        return self.raw(folder, made, f"safetensors header · {what}", Expect.EITHER, "a.safetensors")

    def no_file(self, rng: random.Random, folder: Path) -> Case:
        (folder / "loop").symlink_to("loop")
        (folder / "empty.ckpt").touch()
        (folder / "empty.safetensors").touch()
        (folder / "text.pt").write_text("hello\n" * 99)
        (folder / "swapped.safetensors").write_bytes(self.material.tiny.read_bytes())
        (folder / "swapped.ckpt").write_bytes(save(self.material.tiny_state, {"num_heads": "4"}))
        name = rng.choice(("missing.ckpt", "loop", "empty.ckpt", "empty.safetensors", "text.pt", "swapped.safetensors", "swapped.ckpt",
        "/dev/null", "x" * 300,
                           "a\0b", "\n"))  # fmt: skip
        return self.load(Path(name), f"no checkpoint · {name[:30]!r}", Expect.FAITHFUL if name == "swapped.ckpt" else Expect.REFUSED)

    def size(self, rng: random.Random, folder: Path) -> Case:
        size = rng.choice((0, -16, 16, 32, 48, 95, 97, 112, 160, 16 * 128, 16 * 129, 10**9, 10**30, 1.5, "96", True))
        expect = Expect.EITHER if size in (16, 32, 48, 112, 160) else Expect.REFUSED
        return self.load(self.material.tiny, f"image size · {size!r}", expect, size) if size != 16 * 128 else self.no_file(rng, folder)

    def full(self, heads: Any, state: Any = None) -> dict[str, Any]:
        state = dict(self.material.tiny_state) if state is None else state
        return {"state_dict": state, "hyper_parameters": {"config": {"num_heads": heads, "tokenizer": "roberta-base"}}}

    def content(self, folder: Path, content: Any, what: str, expect: Expect, **options: Any) -> Case:
        torch.save(content, folder / "a.ckpt")
        return self.load(Path("a.ckpt"), what, expect, **options)

    def raw(self, folder: Path, raw: bytes, what: str, expect: Expect, name: str = "a.ckpt") -> Case:
        (folder / name).write_bytes(raw)
        return self.load(Path(name), what, expect)

    def load(self, path: Path, what: str, expect: Expect, image_size: Any = 96, **options: Any) -> Case:
        material, options = self.material, {"image_size": image_size} | options
        shown = "".join(f", {name}={value!r}" for name, value in options.items())
        text = f"xai.load({str(path)[:80]!r}, tokenizer={str(material.tiny_tokenizer)!r}{shown})"
        call = Call(text, lambda: material.explain_tiny(path, material.tiny_tokenizer, material.tiny_answers, **options))
        names = (one_line(path.name), "image size", "image_size") if len(path.name) > 1 else ()
        return Case(what, expect, call, material.tiny_numbers, names, sane=sane)


def packed(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED, twice: str | None = None) -> bytes:
    """A zip archive with the CRCs that it must have; the member `twice` is there a second time, empty."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
        if twice is not None:
            archive.writestr(zipfile.ZipInfo(twice), b"")
    return buffer.getvalue()
