import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
from PIL import ImageFont

from xai.bench.perturb.report import html

PANELS = ("image+", "image-", "text+", "text-")
WIDE = {"mean": 100.0, "low": -100.0, "high": 100.0}


def test_further_measures_fit_the_page():
    """Headings wrap between words and intervals stand on lines of their own, so that the widest content fits 1,080 pixels less padding."""
    row = {
        "method": "transformer-attribution@all",
        "area_between": {"image": WIDE, "text": WIDE},
        "probability": dict.fromkeys(PANELS, 100.0),
        "pointing": WIDE,
        "energy": WIDE,
    }
    table = html._further({"methods": [row], "tests": dict.fromkeys(PANELS)})
    style = html._STYLE
    assert ".further th { white-space: normal }" in style and ".further .interval { display: block }" in style
    size = 15 * float(re.search(r"\.further \{ font-size: (\S+)em \}", style)[1])
    padding = 16 * float(re.search(r"\.further th, \.further td \{ padding: \S+rem (\S+)rem \}", style)[1])

    def width(text: str, name: str, size: float) -> float:
        return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size).getlength(text)

    widths = []
    for head, cell in zip(re.findall(r"<th[^>]*>(.*?)</th>", table), re.findall(r"<td>(.*?)</td>", table), strict=True):
        mean, _, interval = cell.partition('<span class="interval">')
        parts = [width(word, "DejaVuSans-Bold", size) for word in head.split(" ")]
        parts += [width(mean, "DejaVuSans", size), width(interval.removesuffix("</span>"), "DejaVuSans", 0.85 * size)]
        widths.append(max(parts) + 2 * padding)
    assert len(widths) == 9
    assert sum(widths) <= 1080 - 2 * 16


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
