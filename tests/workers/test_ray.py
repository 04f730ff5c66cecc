"""`xai bench perturb --ray` on three nodes in a network of their own, where all that Ray listens on is loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from xai.cli import main
from xai.tests.workers.runs import FEW, wait_for
from xai.tests.workers.test_random_kills import MARK, of_run

ray = pytest.importorskip("ray")
SCRIPT = Path(__file__).with_name("ray_cluster.py")


def in_a_network_of_its_own(*command: str) -> list[str]:
    return ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]


@pytest.fixture(scope="module")
def alone() -> None:
    """Skip where no network of one's own can be had."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        pytest.skip("needs unshare and ip")
    if subprocess.run(in_a_network_of_its_own("true"), capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a network namespace")


def lose_nodes(folder: Path, rounds: int) -> dict[str, int]:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "XDG_CACHE_HOME": str(folder / "cache"),
        MARK: str(folder),
    }
    command = in_a_network_of_its_own(sys.executable, str(SCRIPT), str(folder), str(rounds))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120 + 60 * rounds, check=False)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: not of_run(str(folder)), seconds=30)
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))  # Ray prints, too


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_finishes_with_the_same_bytes(alone, tmp_path) -> None:
    """Half a minute."""
    counts = lose_nodes(tmp_path, 1)
    assert counts["node"] == counts["chunks given again"] == 1


@pytest.mark.slow
def test_nodes_actors_and_drivers_end_at_random_moments(alone, tmp_path) -> None:
    """Some minutes."""
    counts = lose_nodes(tmp_path, 10)
    assert counts["node"] >= 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ray", "--devices", "cuda:0"], "--devices names this machine's GPUs"),
        (["--ray", "127.0.0.1:1", "--samples", "3"], "no Ray cluster answers at 127.0.0.1:1: "),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, arguments, message) -> None:
    result = CliRunner().invoke(main, ["bench", "perturb", "-o", str(tmp_path / "out"), *FEW, *arguments])
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert not (tmp_path / "out").exists()
