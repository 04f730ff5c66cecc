"""Writes the README's section on performance from `benchmarks/results/*/report.json`: `python benchmarks/readme.py`."""

from pathlib import Path

from xai.bench.suite.report import performance, read_reports, with_section

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Replace the section."""
    readme = ROOT / "README.md"
    section = performance(read_reports(ROOT / "benchmarks" / "results"))
    readme.write_text(with_section(readme.read_text(encoding="utf-8"), section), encoding="utf-8")


if __name__ == "__main__":
    main()
