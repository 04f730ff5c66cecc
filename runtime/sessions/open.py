"""Which session runs a bundle. A session's library is imported when it is asked for, and not before."""

from __future__ import annotations

from xai.base.errors import BadInput, XaiError
from xai.runtime.bundle.manifest import Bundle
from xai.runtime.sessions.protocol import Session

SESSIONS = ("onnx", "torchscript")


def open_session(
    bundle: Bundle,
    session: str | None = None,
    *,
    provider: str = "cpu",
    threads: int | None = None,
    trust: bool = False,
    allow_fallback: bool = False,
    lean: bool = False,
) -> Session:
    """A session for a bundle: `onnx` or `torchscript`, or where None the first of them that the bundle has.

    `provider` says where the graphs run, `cpu`, `cuda` or an ONNX Runtime provider's name; `allow_fallback` and `lean` are for ONNX
    Runtime (`OnnxSession`), `trust` for TorchScript (`TorchScriptSession`).
    Raises `BadInput` for another name, and `XaiError` where the bundle or this installation cannot run it.
    """
    name = next(kind for kind in SESSIONS if kind in bundle.manifest.formats) if session is None else session
    try:
        match name:
            case "onnx":
                from xai.runtime.sessions.onnx import OnnxSession

                return OnnxSession(bundle, provider, threads, allow_fallback, lean=lean)
            case "torchscript":
                from xai.runtime.sessions.torchscript import TorchScriptSession

                return TorchScriptSession(bundle, trust, threads, provider)
    except ModuleNotFoundError as error:
        extra = {"onnxruntime": "cpu", "torch": "export"}.get(error.name or "")
        if extra is None:
            raise
        raise XaiError(f"the session {name!r} needs {error.name}, which is not installed: pip install 'xai-vqa[{extra}]'") from error
    raise BadInput(f"a bundle has no session {name!r}: choose from {', '.join(SESSIONS)}")
