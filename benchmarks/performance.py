"""Writes the machines of docs/performance.md from `benchmarks/results/*/report.json`: `python benchmarks/performance.py`."""

from pathlib import Path

from xai.bench.suite.report import performance, read_reports, with_section

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Replace the section."""
    page = ROOT / "docs" / "performance.md"
    section = performance(read_reports(ROOT / "benchmarks" / "results"))
    page.write_text(with_section(page.read_text(encoding="utf-8"), section), encoding="utf-8")


if __name__ == "__main__":
    main()
