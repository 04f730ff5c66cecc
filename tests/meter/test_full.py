"""METER-CLIP16-RoBERTa at full size and 576 px against the reference: 327 M parameters, some minutes, 6 GB at the most."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.torch import save_file

from xai.tests import full_size

PEAK_GB = 6.0


@pytest.mark.slow
def test_full_size_equals_the_reference(shared_golden, tmp_path, generate_state) -> None:
    folder = shared_golden / "full"
    save_file(generate_state(folder), tmp_path / "meter.safetensors", metadata={"num_heads": "12"})
    expected = np.load(folder / "expected.npz")
    for c, case in enumerate(json.loads((folder / "cases.json").read_text())["cases"]):
        out = tmp_path / f"{c}.npz"
        report = full_size.run("eager", tmp_path / "meter.safetensors", folder, c, out)
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
