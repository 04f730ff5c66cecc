"""The examples of job arrays: SLURM's with an `sbatch` that runs the tasks here, Kubernetes' by what its container would run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xai.tests.workers.runs import FEW, results, run

EXAMPLES = Path(__file__).parents[2] / "examples"
SBATCH = """#!/bin/bash
# Stands in for SLURM's: runs the tasks of an array one after the other, here; a job that depends on one that failed is not run.
array= output=/dev/null log=("$@")
while [ "${1#--}" != "$1" ]; do
    case $1 in
        --array=*) array=$(seq -s ' ' "${1#--array=1-}") ;;
        --output=*) output=${1#--output=} ;;
        --dependency=afterok:*) [ -e "$STUB/failed-${1##*:}" ] && exit 0 ;;
    esac
    shift
done
echo "${log[*]}" >> "$STUB/calls"
job=$(wc -l < "$STUB/calls")
for task in ${array:-0}; do
    SLURM_ARRAY_TASK_ID=$task bash "$@" >> "${output//%a/$task}" 2>&1 || touch "$STUB/failed-$job"
done
echo "$job"
"""


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Where `sbatch` is the stub and `xai` is this one."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, content in (("sbatch", SBATCH), ("xai", f'#!/bin/sh\nexec {sys.executable} -m xai "$@"\n')):
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "STUB": str(tmp_path), "OMP_NUM_THREADS": "1"}


def test_an_array_of_slurm_gives_the_bytes_of_one_run(environment, tmp_path) -> None:
    command = ["bash", str(EXAMPLES / "slurm" / "perturb.sh"), "3", str(tmp_path / "out"), *FEW]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "--dependency=afterok:1" in (tmp_path / "calls").read_text()
    run(tmp_path / "whole")
    assert results(tmp_path / "out") == results(tmp_path / "whole")
    assert (tmp_path / "out" / "table.json").read_bytes() == (tmp_path / "whole" / "table.json").read_bytes()
    assert "AUC" in (tmp_path / "out.parts" / "merge.log").read_text()


def test_a_shard_that_fails_is_not_merged_and_goes_on_when_submitted_again(environment, tmp_path) -> None:
    command = ["bash", str(EXAMPLES / "slurm" / "perturb.sh"), "2", str(tmp_path / "out"), *FEW]
    (tmp_path / "out.parts").mkdir()
    (tmp_path / "out.parts" / "shard-2").touch()  # a file where the folder must be
    subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert not (tmp_path / "out").exists()
    assert "Error: " in (tmp_path / "out.parts" / "shard-2.log").read_text()
    (tmp_path / "out.parts" / "shard-2").unlink()
    subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert (tmp_path / "out" / "table.json").exists()


def test_the_job_of_kubernetes_runs_the_shards_that_it_counts(environment, tmp_path) -> None:
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((EXAMPLES / "kubernetes" / "perturb.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    shards = {variable["name"]: variable["value"] for variable in container["env"]}["SHARDS"]
    assert int(shards) == job["spec"]["completions"]
    assert job["spec"]["completionMode"] == "Indexed"
    (program,) = container["args"]
    here = re.sub(r"--data \S+ --model \S+", " ".join(FEW), program).replace("/shared", str(tmp_path))
    for index in ("0", "2"):
        done = subprocess.run(
            [*container["command"], here],
            env=environment | {"SHARDS": "3", "JOB_COMPLETION_INDEX": index},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "results.parts").iterdir()) == ["shard-1", "shard-3"]
