"""What a PNG costs: CPU milliseconds of drawing one and all methods of the demo model, in-process."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import xai
from xai.runtime.show.save import render

SCENE = Path(__file__).parents[1] / "examples" / "scene1.png"
TIMES = 9


def main() -> None:
    """Print medians and what the files weigh."""
    explainer = xai.load()
    for methods in ("dsmi-grad", "all"):
        explanations = explainer.explain_methods(SCENE, "What color is the circle?", methods)
        render(explanations, Path("why.png"))
        times = []
        for _ in range(TIMES):
            start = time.process_time()
            content = render(explanations, Path("why.png"))
            times.append(time.process_time() - start)
        print(f"{methods}: {1e3 * statistics.median(times):.1f} ms of CPU time, {len(content)} bytes")


if __name__ == "__main__":
    main()
