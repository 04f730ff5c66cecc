"""`python -m xai.tests.fuzz SUBJECT [START] STOP`: run the cases of a fuzzer and print how they ended."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from xai.tests.fuzz.sweep import sweep

if __name__ == "__main__":
    subject, *numbers = sys.argv[1:]
    start, stop = (0, int(numbers[0])) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))
    tally = sweep(subject, range(start, stop), Path(tempfile.mkdtemp(prefix=f"fuzz-{subject}-")))
    print(tally.report())
    sys.exit(bool(tally.failures))
