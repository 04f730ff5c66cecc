"""Writes the machines of docs/performance.md from `benchmarks/results/*/{report,serve}.json`: `python benchmarks/performance.py`."""

from pathlib import Path

from xai.bench.serve.report import SERVING_MARKS, read_loads, serving
from xai.bench.suite.report import performance, read_reports, with_section

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Replace the sections."""
    page, results = ROOT / "docs" / "performance.md", ROOT / "benchmarks" / "results"
    text = with_section(page.read_text(encoding="utf-8"), performance(read_reports(results)))
    page.write_text(with_section(text, serving(read_loads(results)), SERVING_MARKS), encoding="utf-8")


if __name__ == "__main__":
    main()
