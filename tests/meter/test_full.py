"""METER-CLIP16-RoBERTa at full size and 576 px against the reference: 327 M parameters, some minutes, 6 GB at the most."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

PEAK_GB = 6.0
EXPLAIN = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from xai.meter.checkpoint import load_meter
from xai.meter.session import EagerSession
from xai.runtime.engine import encode_images, explain
from xai.runtime.image import open_image, preprocess
from xai.runtime.methods import METHODS, Options
from xai.runtime.session import TOP_ANSWER

weights, folder, out, case = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
content = json.loads((folder / "cases.json").read_text())
start = time.perf_counter()
session = EagerSession(load_meter(weights))
loaded = time.perf_counter()
methods = [m for m in METHODS.values() if m.name != "random"]
pixels, _ = preprocess(open_image(folder / content["cases"][case]["image"]), session.description)
tokens = encode_images(session, pixels[None])
ids = np.array(content["cases"][case]["ids"])
(found,) = explain(session, tokens, [ids], [TOP_ANSWER], methods, Options())
seconds = time.perf_counter() - loaded
arrays = {"logits": found.logits}
for method, relevance in zip(methods, found.relevances):
    arrays[f"{method.reference_name}/text"], arrays[f"{method.reference_name}/image"] = relevance
for name in ("dsmi-grad", "dsmi-grad-attn"):
    (every,) = explain(session, tokens, [ids], [TOP_ANSWER], [METHODS[name]], Options("all"))
    key = METHODS[name].reference_name
    arrays[f"{key}@all/text"], arrays[f"{key}@all/image"] = every.relevances[0]
np.savez(out, **arrays)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
gaps = {r.graph: r.gap for r in found.solver + every.solver}
print(json.dumps({"load_s": loaded - start, "explain_s": seconds, "peak_gb": peak, "gaps": gaps}))
"""


@pytest.mark.slow
def test_full_size_equals_the_reference(shared_golden, tmp_path, generate_state) -> None:
    folder = shared_golden / "full"
    save_file(generate_state(folder), tmp_path / "meter.safetensors", metadata={"num_heads": "12"})
    expected = np.load(folder / "expected.npz")
    for c, case in enumerate(json.loads((folder / "cases.json").read_text())["cases"]):
        out = tmp_path / f"{c}.npz"
        run = subprocess.run(
            [sys.executable, "-c", EXPLAIN, str(tmp_path / "meter.safetensors"), str(folder), str(out), str(c)],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path.home(),
        )
        report = json.loads(run.stdout)
        print(f"case {c}: {report}")
        found = np.load(out)
        assert int(found["logits"].argmax()) == case["answer_id"]
        assert np.abs(found["logits"] - expected[f"{c}/logits"]).max() < 1e-3
        names = [key.removeprefix(f"{c}/") for key in expected.files if key.startswith(f"{c}/") and key.count("/") == 2]
        assert len(names) == 16  # eight methods, two streams
        assert min(report["gaps"].values()) > 1e-3
        for name in names:
            reference = expected[f"{c}/{name}"]
            assert np.abs(found[name] - reference).max() <= 1e-4 * np.abs(reference).max(), name
        assert report["peak_gb"] < PEAK_GB
