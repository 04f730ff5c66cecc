import json

import numpy as np
import pytest
from click.testing import CliRunner

from xai.base.errors import XaiError
from xai.bench.solver import measure
from xai.bench.solver.contenders import BASELINE, HONEST
from xai.bench.solver.problems import dense_problem, made_up, neighbour_problem, text_problem
from xai.bench.solver.rows import solver_table
from xai.cli import main

PROBLEMS = {
    "dense": lambda: dense_problem("dense", [made_up(80, 16, seed) for seed in range(2)], 3),
    "affinity": lambda: dense_problem("affinity", [made_up(80, 16, seed) for seed in range(2)], 2, build=True),
    "text": lambda: text_problem("text", [made_up(n, 16, n) for n in (9, 20, 14)], 4),
    "sparse": lambda: neighbour_problem("sparse", [made_up(150, 16, 0)], 12),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_every_time_has_its_error_and_its_baselines_beside_it(kind):
    rows = measure.time_solvers(PROBLEMS[kind](), 1, 1)
    assert {BASELINE, HONEST, "eigh, bucketed", "fiedler"} <= {row.method for row in rows}
    for row in rows:
        assert row.cpu_ms > 0 and row.wall_ms > 0 and row.sine < 1e-2
        assert (row.certified == 1) if row.products is not None else (row.certified is None)
    assert next(row for row in rows if row.method == BASELINE).times_eigs == 1
    assert solver_table(rows).count("\n") == len(rows) + 1


def test_the_command_writes_what_it_prints(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "problems", lambda *_: [PROBLEMS["dense"]()])
    monkeypatch.setattr(measure, "run_with_threads", measure.run)
    features = tmp_path / "features.npz"
    np.savez(features, **{"image a": made_up(70, 8, 0)})
    result = CliRunner().invoke(main, ["bench", "eigen", "--quick", "--features", str(features), "--json", str(tmp_path / "rows.json")])
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert all(f"| {row['problem']} | {row['nodes']} |" in result.output for row in rows)


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04 half of one"])
def test_features_that_are_none_are_named(tmp_path, content):
    features = tmp_path / "features.npz"
    features.write_bytes(content)
    with pytest.raises(XaiError, match=r"features\.npz is not an \.npz of features"):
        measure.run(True, features, 1, str)
