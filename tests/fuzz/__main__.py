"""`python -m xai.tests.fuzz SUBJECT [START] STOP`: run the cases of a fuzzer and print how they ended."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from xai.tests.fuzz.sweep import Worker, sweep

if __name__ == "__main__":
    subject, *numbers = sys.argv[1:]
    start, stop = (0, int(numbers[0])) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{subject}-"))
    worker = Worker(folder)
    tally = sweep(worker, subject, range(start, stop), folder)
    worker.stop()
    print(tally.report())
    sys.exit(bool(tally.failures))
