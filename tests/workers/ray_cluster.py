"""Runs on a Ray cluster of three nodes that loses one of them, actors and drivers: `python ray_cluster.py FOLDER ROUNDS`.

Ray listens on the machine's address: start this in a network of its own, where that is loopback (`test_ray.py` does).
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from xai.tests.workers.runs import begin, children, drafts, outputs, run, state, wait_for, workers_of

MORE = ["--samples", "24", "--methods", "all", "--threads", "1"]
"""Chunks that take some tenths of a second each; sums of ONNX Runtime may depend on the threads of a product."""


def raylets(nodes: list[Any]) -> dict[int, Any]:
    """The nodes by the process that starts their actors."""
    return {node.all_processes["raylet"][0].process.pid: node for node in nodes}


def disturb(rng: random.Random, cluster: Cluster, nodes: list[Any], out: Path, process: Any, first: bool) -> str:
    """Wait for a random moment, then end a node that has an actor, an actor, or the driver; the first time, a node."""
    wait_for(lambda: (len(workers_of(out)) >= 2 and state(out)["done"] >= 1) or process.poll() is not None)
    time.sleep(rng.random())
    what = "node" if first else rng.choice(["node", "node", "actor", "driver"])
    if process.poll() is not None:
        return "nothing: it was done"
    if what == "driver":
        process.kill()
    elif what == "actor":
        os.kill(rng.choice(workers_of(out)), signal.SIGKILL)
    else:
        actors = set(workers_of(out))
        found = raylets(nodes)
        victim = max(found, key=lambda raylet: len(actors.intersection(children(raylet))))
        if not actors.intersection(children(victim)):
            what = "node without an actor"
        cluster.remove_node(found[victim], allow_graceful=False)
        nodes.remove(found[victim])
    return what


def main(folder: Path, rounds: int) -> None:
    """Run undisturbed, then `rounds` times with something that ends; print what ended how often."""
    whole = folder / "whole"
    run(whole, *MORE)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    nodes: list[Any] = []
    rng, counts = random.Random(1), Counter[str]()
    try:
        for number in range(rounds):
            while len(nodes) < 2:
                nodes.append(cluster.add_node(num_cpus=1))
            out = folder / f"out{number}"
            process = begin(out, *MORE, "--ray", cluster.address)
            counts[disturb(rng, cluster, nodes, out, process, number == 0)] += 1
            _, errors = process.communicate(timeout=300)
            if process.returncode:
                assert process.returncode == -signal.SIGKILL, errors
                run(out, *MORE, "--ray", cluster.address, "--resume")
            elif "another one takes" in errors:
                counts["chunks given again"] += 1
            assert outputs(out) == outputs(whole), number
            assert state(out)["state"] == "done"
            assert drafts(out) == []
    finally:
        cluster.shutdown()
    print(json.dumps(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
