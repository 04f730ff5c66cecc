"""Explains one case of the full-size golden model, by every method: `python full_size.py SESSION PLACE FOLDER CASE OUT`.

A program of its own, so that its peak memory is its own. SESSION is `eager`, `onnx` or `torchscript`, PLACE the checkpoint or the
bundle, FOLDER the golden one. Writes logits and relevances under the golden file's names to OUT and prints seconds, peak and gaps.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from xai.base.description import TOP_ANSWER
from xai.runtime.bundle.reader import read_bundle
from xai.runtime.engine import explain_tokens
from xai.runtime.inputs.decode import open_image
from xai.runtime.inputs.encode import encode_images
from xai.runtime.inputs.resize import preprocess
from xai.runtime.methods import METHODS
from xai.runtime.sessions.open import open_session
from xai.runtime.sessions.protocol import Session


def run(session: str, place: Path, folder: Path, case: int, out: Path) -> dict[str, Any]:
    """Explain in a process of its own; what it printed."""
    command = [sys.executable, __file__, session, place, folder, str(case), out]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path.home(), check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def load(session: str, place: Path) -> Session:
    if session != "eager":
        return open_session(read_bundle(place), session, trust=True)
    from xai.models.eager import EagerSession
    from xai.models.meter import load_meter_family

    return EagerSession(load_meter_family(place))


def main(name: str, place: Path, folder: Path, case: int, out: Path) -> None:
    content = json.loads((folder / "cases.json").read_text())["cases"][case]
    start = time.perf_counter()
    session = load(name, place)
    loaded = time.perf_counter()
    pixels, _ = preprocess(open_image(folder / content["image"]), session.description)
    tokens = encode_images(session, pixels[None])
    arrays, gaps, seconds = {}, {}, {}
    for layers in ("first", "all"):
        began = loaded if layers == "first" else time.perf_counter()
        offered = [m for m in METHODS.values() if m.published and m.name != "random" and not m.lrp]
        methods = [m for m in offered if (m.layers == "all") == (layers == "all")]
        (found,) = explain_tokens(session, tokens, [np.array(content["ids"])], [TOP_ANSWER], methods)
        seconds[layers] = time.perf_counter() - began
        gaps |= {report.graph: report.gap for report in found.solver}
        arrays["logits"] = found.logits
        for method, relevance in zip(methods, found.relevances, strict=True):
            arrays[f"{method.reference_name}/text"], arrays[f"{method.reference_name}/image"] = relevance
        if layers == "first":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    np.savez(out, **arrays)
    spent = {"load_s": loaded - start, "explain_s": seconds["first"], "all_layers_s": seconds["all"]}
    print(json.dumps({**spent, "peak_gb": peak, "gaps": gaps}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
