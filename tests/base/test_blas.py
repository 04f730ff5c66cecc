"""The command lets OpenBLAS's threads sleep, before OpenBLAS is loaded."""

import os
import subprocess
import sys

import pytest

from xai.base.process import BLAS_TIMEOUT, SHORTEST_TIMEOUT

SCRIPT = f"""
import os, sys
from click.testing import CliRunner
from xai.cli import main
assert "numpy" not in sys.modules, "OpenBLAS is loaded too early"
assert CliRunner().invoke(main, ["doctor"]).exit_code == 0
print(os.environ["{BLAS_TIMEOUT}"])
"""


@pytest.mark.parametrize(("given", "found"), [({}, SHORTEST_TIMEOUT), ({BLAS_TIMEOUT: "20"}, "20")])
def test_the_command_sets_it_where_the_user_has_not(given, found) -> None:
    environment = {name: value for name, value in os.environ.items() if name != BLAS_TIMEOUT} | given
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == found
