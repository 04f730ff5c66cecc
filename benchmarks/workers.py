"""Times `xai bench perturb` by one process and by several workers, in turn, and prints the ratios: for an idle machine.

python benchmarks/workers.py                  # the demo; 2 workers where there are 2 cores
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click

SETTINGS = ["--methods", "all", "--batch", "8"]


def seconds(folder: Path, questions: int, *arguments: str) -> tuple[float, bytes]:
    """Time one run from the shell to the table; returns its results, too."""
    command = [sys.executable, "-m", "xai", "bench", "perturb", "-o", str(folder), "--samples", str(questions), *SETTINGS, *arguments, "-q"]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, (folder / "results.jsonl").read_bytes()


@click.command()
@click.option("--questions", default=512, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(questions: int, rounds: int) -> None:
    """Print seconds and throughput of each way, medians over rounds that take turns, and compare the results of those with one thread."""
    cores = len(os.sched_getaffinity(0))
    ways = {
        "one process, one thread": ["--threads", "1"],
        "one worker, one thread": ["--workers", "1", "--threads", "1"],
        f"one process, {cores} threads": ["--threads", str(cores)],
        f"{cores} workers, one thread each": ["--workers", str(cores), "--threads", "1"],
    }
    os.environ["OMP_NUM_THREADS"] = "1"
    took: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(rounds):
            for name, arguments in ways.items():
                os.environ["OMP_NUM_THREADS"] = "1" if "one thread" in name else str(cores)
                long, found[name] = seconds(Path(temporary) / f"{number} {name}", questions, *arguments)
                took[name].append(long)
    first = median(took["one worker, one thread"])
    click.echo("| way | seconds | questions a second | times one worker |\n|---|---|---|---|")
    for name, times in took.items():
        click.echo(f"| {name} | {median(times):.1f} | {questions / median(times):.2f} | {first / median(times):.2f} |")
    same = len({results for name, results in found.items() if "one thread" in name}) == 1
    click.echo(f"\nThe same results by each of one thread: {'yes' if same else 'NO'}.")


if __name__ == "__main__":
    main()
