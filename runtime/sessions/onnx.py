"""A bundle's ONNX graphs, run by ONNX Runtime. Imports no torch.

Arrays come out of the library they went in with: NumPy's on the CPU; with one of CuPy's among the inputs, outputs stay on
the GPU and are handed over by DLPack, without visiting the host.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime

from xai.base.errors import XaiError, first_line
from xai.runtime.bundle.manifest import Bundle, onnx_file
from xai.runtime.sessions.check_graph import Declared, check_outputs, check_tensors
from xai.runtime.sessions.protocol import check_gpu
from xai.spectral.arrays import Array, namespace, synchronised

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""Short names; ONNX Runtime's own names are taken too."""

CPU, CUDA = PROVIDERS["cpu"], PROVIDERS["cuda"]
ON_GPU = (CUDA, PROVIDERS["tensorrt"])
DEVICES = {1: "cpu", 2: "cuda"}
"""ONNX Runtime's names of DLPack's kinds of memory."""

NO_LOG = 4
"""What goes wrong is raised; ONNX Runtime would print it as well."""

COPYING = ["ConstantFolding"]
"""Optimisers that would keep changed copies of weights: of `lrp` every one in float64, several times."""

TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64", "tensor(bool)": "bool"}
"""NumPy's names of ONNX Runtime's types, of those that a manifest knows."""


class OnnxSession:
    """Runs a bundle's graphs; each is loaded when it is first asked for (`runtime.sessions.protocol.Session`).

    `provider` is a short or full name; `threads` counts those of one operator, None leaves it to ONNX Runtime.
    Raises `XaiError` where the bundle has no ONNX graphs, and, unless `allow_fallback`, where ONNX Runtime would run another
    provider than the one asked for, or where CuPy is missing beside a GPU. With `allow_fallback` arrays stay on the host.
    ONNX Runtime profiles what it runs into the folder `profiles`, where one is named. `lean` leaves weights in the file that is mapped:
    loading takes a moment, and no copy of the weights is made for speed. Each graph keeps what its largest run took until `release`.
    """

    name = "onnx"

    def __init__(
        self,
        bundle: Bundle,
        provider: str = "cpu",
        threads: int | None = None,
        allow_fallback: bool = False,
        profiles: Path | None = None,
        lean: bool = False,
    ) -> None:
        onnxruntime.disable_telemetry_events()  # nothing that runs here is told to anybody
        if "onnx" not in bundle.manifest.formats:
            raise XaiError(f"bundle {bundle.folder} has no ONNX graphs: export it with --format onnx, or run it with --session torchscript")
        self.bundle = bundle
        self.source = f"bundle {bundle.folder}"
        self.precision = bundle.manifest.precision
        self.description = bundle.manifest.model
        self.asked = find_provider(provider)
        self.threads = threads
        self.allow_fallback = allow_fallback
        self.device = "cuda" if self.asked in ON_GPU and not allow_fallback else "cpu"
        if self.device == "cuda":
            check_gpu(provider)
        self.profiles = profiles
        self.lean = lean
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._lock = threading.Lock()

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of the provider that runs the graphs, as far as any is loaded; before that, the one asked for."""
        return next((session.get_providers()[0] for session in self._sessions.values()), self.asked)

    def end_profiling(self) -> dict[str, Path]:
        """Stop profiling; the profile of each graph that was run."""
        return {graph: Path(session.end_profiling()) for graph, session in self._sessions.items()}

    def run(self, graph: str, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run a graph; `outputs` names what to return, all of it where None. Arrays of the CPU come back read-only."""
        name = self.bundle.resolve(graph, outputs)
        session = self._session(name)
        stored = [value.name for value in session.get_outputs()]
        spec = self.bundle.manifest.graphs[name]
        names = dict(zip(spec.outputs, stored, strict=True))
        wanted = list(names) if outputs is None else list(outputs)
        xp, device = np, ("cpu", 0)
        binding = session.io_binding()
        try:
            for key, value in inputs.items():
                if namespace(value) is np:
                    binding.bind_cpu_input(key, np.ascontiguousarray(value))
                else:
                    xp = namespace(value)
                    value = synchronised(value)  # ONNX Runtime has a stream of its own, which waits for no other
                    kind, number = value.__dlpack_device__()
                    device = DEVICES[kind], number
                    binding.bind_ortvalue_input(key, onnxruntime.OrtValue.from_dlpack(xp.ascontiguousarray(value)))
            for key in wanted:
                binding.bind_output(names[key], *device)
            session.run_with_iobinding(binding)
        except Exception as error:  # a dozen types of its own, and Python's where its words are not UTF-8
            self.bundle.settle()  # says which file is damaged
            raise XaiError(f"ONNX Runtime cannot run graph {name} of {self.bundle.folder}: {first_line(error)}") from error
        self.bundle.settle()
        found = {key: xp.from_dlpack(value) for key, value in zip(wanted, binding.get_outputs(), strict=True)}
        check_outputs(spec, inputs, found, f"graph {name} of {self.bundle.folder}")
        return found

    def load_ahead(self, graphs: Sequence[str]) -> None:
        """Begin to load graphs, one after the other, in a thread: ONNX Runtime lets go of Python's lock while it does."""

        def load() -> None:
            with suppress(XaiError):  # who runs the graph tries again, and is told
                for graph in graphs:
                    self._session(graph)

        # No daemon: Python would end beneath ONNX Runtime, and the process abort.
        threading.Thread(target=load).start()

    def release(self) -> None:
        """Close every graph that is loaded."""
        with self._lock:
            self._sessions.clear()

    def _session(self, graph: str) -> onnxruntime.InferenceSession:
        with self._lock:
            if graph not in self._sessions:
                self._sessions[graph] = self._load(graph)
            return self._sessions[graph]

    def _load(self, graph: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.enable_mem_pattern = False  # its plans for shapes seen before cost more memory than they save
        options.intra_op_num_threads = self.threads or 0
        # Threads that spin while they wait for the next operator still do so while NumPy solves and draws, on the same cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = NO_LOG
        if self.lean:
            options.add_session_config_entry("session.disable_prepacking", "1")
        if self.profiles is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(self.profiles / graph)
        path = self.bundle.file(onnx_file(graph))
        try:
            session = self._open(path, options, COPYING if self.lean or graph == "lrp" else [])
            spec = self.bundle.manifest.graphs[graph]
            for side, values, wanted in (("input", session.get_inputs(), spec.inputs), ("output", session.get_outputs(), spec.outputs)):
                check_tensors([Declared(v.name, TYPES.get(v.type, v.type), v.shape) for v in values], wanted, side, str(path))
        except XaiError:
            raise
        except Exception as error:  # as in `run`
            self.bundle.settle()
            raise XaiError(f"ONNX Runtime cannot load {path}: {first_line(error)}") from error
        used = session.get_providers()[0]
        if used != self.asked and not self.allow_fallback:
            raise XaiError(f"ONNX Runtime runs {path.name} on {used}, not on {self.asked}: see `xai doctor`, or ask for --provider cpu")
        return session

    def _open(self, path: Path, options: onnxruntime.SessionOptions, without: Sequence[str]) -> onnxruntime.InferenceSession:
        # By path: of a session made from bytes, ONNX Runtime would look for the weights in the current folder.
        # Its own fallback would print what it does, and do it unasked.
        try:
            return onnxruntime.InferenceSession(
                path, options, providers=self._providers(), enable_fallback=False, disabled_optimizers=list(without)
            )
        except Exception:
            if not self.allow_fallback or self.asked == CPU:
                raise
            return onnxruntime.InferenceSession(path, options, providers=[CPU], enable_fallback=False, disabled_optimizers=list(without))

    def _providers(self) -> list[str | tuple[str, dict[str, str]]]:
        """What ONNX Runtime may use, in order; by default its CUDA provider would round float32 factors to TF32."""
        if self.asked == CPU:
            return [CPU]
        if self.asked == CUDA:
            onnxruntime.preload_dlls()  # of the packages that pip installed
            return [(CUDA, {"use_tf32": "0"}), CPU]
        return [self.asked, CPU]


def find_provider(name: str) -> str:
    """ONNX Runtime's name of a provider. Raises `XaiError` where this installation does not have it."""
    provider = PROVIDERS.get(name.lower(), name)
    available = onnxruntime.get_available_providers()
    if provider not in available:
        short = [key for key, value in PROVIDERS.items() if value in available]
        raise XaiError(f"this onnxruntime has no provider {name!r}, only {', '.join(short)}; a GPU needs onnxruntime-gpu: see `xai doctor`")
    return provider
