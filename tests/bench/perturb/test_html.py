import os
import subprocess
import sys


def test_curves_are_drawn_whatever_mplbackend_says():
    code = """
from xai.bench.perturb.plan import STEPS
from xai.bench.perturb.report.curves import draw_curves
row = {"method": "random", "curves": {"image+": [50.0] * len(STEPS)}}
picture = draw_curves({"tests": {"image+": []}, "steps": list(STEPS), "methods": [row]})
raise SystemExit(not picture.startswith(b"\\x89PNG"))
"""
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"MPLBACKEND": "nope"}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_chart_is_imported_without_matplotlib():
    code = "import sys, xai.bench.latency.chart; raise SystemExit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
