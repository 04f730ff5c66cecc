"""`xai bench serve`: a server under closed and open load, beside the same server that does not batch."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from xai.base.errors import XaiError
from xai.base.versions import XAI_VERSION
from xai.bench.latency.inputs import Inputs, photos, scenes
from xai.bench.machine import describe_machine
from xai.bench.serve.load import Reply, Server, body, closed, open_loop

SCHEMA_VERSION = 1

CLIENTS = (1, 2, 4, 8, 16)
RATES = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Of the open loads, as shares of the throughput that the closed ones found."""

IMAGES = 64
"""Different pictures that are asked about."""

READY_SECONDS = 300

KEEPS_UP = 0.95
"""Answers a second, of the requests a second, at and under the knee."""

UNBATCHED = ("--max-batch", "1", "--max-wait-ms", "0")
"""The baseline: the same routes, handlers and queue, one request a pass."""

WHOLE = ("--image-cache", "0")
"""Every request encodes its picture, as if nobody asked twice about one."""

Say = Callable[[str], None]


@contextmanager
def running(model: str, options: Sequence[str], bodies: Sequence[bytes]) -> Iterator[Server]:
    """A server of one model, on a free port of loopback. Raises `XaiError` with what it said where it does not start."""
    command = [sys.executable, "-m", "xai", "serve", model, "--quiet", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        rest = threading.Thread(target=process.stderr.read, daemon=True)  # a full pipe would stop it
        try:
            said = process.stderr.readline().strip()
            rest.start()
            if not said.startswith("Listening on "):
                raise XaiError(f"the server does not start: {said.removeprefix('Error: ')}")
            server = Server(said.split()[2], bodies)
            wait_until_ready(server)
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
            rest.join()


def wait_until_ready(server: Server) -> None:
    """Wait for the first real explanation. Raises `XaiError` where it does not come."""
    end = time.monotonic() + READY_SECONDS
    while server.get("/readyz")[0] != 200:
        if time.monotonic() > end:
            raise XaiError(f"the server is not ready after {READY_SECONDS} s: see what it logs")
        time.sleep(0.05)


def bodies_for(demo: bool) -> tuple[str, list[bytes]]:
    """What the requests are about, and the requests: scenes for the demo, else pictures of a photograph's size."""
    inputs: Inputs = (scenes if demo else photos)(IMAGES, None)
    return inputs.name, [body(base64.b64encode(image).decode(), question) for image, question in inputs.pairs]


def summary(load: str, replies: Sequence[Reply], seconds: float, asked: float | None = None) -> dict[str, Any]:
    """One row: throughput and latency of what was answered, what was refused and how fast, and how it was batched.

    Raises `XaiError` where nothing at all was answered.
    """
    good = [reply for reply in replies if reply.status == 200]
    if not good:
        raise XaiError(f"the server answered none of {len(replies)} requests ({load}): see what it logs")
    refused = [reply.latency for reply in replies if reply.status == 503]
    last = max(reply.sent + reply.latency for reply in replies)
    first = min(reply.sent for reply in replies)
    p50, p95, p99 = (float(1e3 * np.quantile([reply.latency for reply in good], share)) for share in (0.5, 0.95, 0.99))
    batches = Counter(reply.batch for reply in good)
    return {
        "load": load,
        "asked_per_second": asked,
        "requests": len(replies),
        "throughput": len(good) / max(last - first, seconds),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "rejected": len(refused) / len(replies),
        "rejected_p99_ms": float(1e3 * np.quantile(refused, 0.99)) if refused else None,
        "other": sum(reply.status not in (200, 503) for reply in replies),
        "mean_batch": sum(reply.batch for reply in good) / len(good),
        "batches": {str(size): count for size, count in sorted(batches.items())},
        "queue_p50_ms": float(np.median([reply.queue_ms for reply in good])),
    }


def closed_loads(server: Server, seconds: float, say: Say) -> list[dict[str, Any]]:
    """One row for each number of clients; a short load before it does not count."""
    closed(server, 2, min(seconds, 2))
    found = []
    for clients in CLIENTS:
        say(f"closed loop, {clients} clients")
        found.append({**summary(f"{clients} clients", closed(server, clients, seconds), seconds), "memory_mb": server.memory_mb()})
    return found


def open_loads(server: Server, capacity: float, seconds: float, say: Say) -> list[dict[str, Any]]:
    """One row for each rate."""
    found = []
    for share in RATES:
        rate = share * capacity
        say(f"open loop, {rate:.1f} requests a second")
        row = summary(f"{share:g} x capacity", open_loop(server, rate, seconds), seconds, asked=rate)
        found.append({**row, "memory_mb": server.memory_mb()})
    return found


def knee(rows: Sequence[dict[str, Any]]) -> int | None:
    """The highest rate at which nothing is refused and the answers keep up (`KEEPS_UP`); None where there is none."""
    kept = [i for i, row in enumerate(rows) if row["rejected"] == 0 and row["throughput"] >= KEEPS_UP * row["asked_per_second"]]
    return max(kept, default=None)


def run(target: str, seconds: float, say: Say) -> dict[str, Any]:
    """The report: of a model, with its baseline, or of the server at a URL, without."""
    about = {
        "schema_version": SCHEMA_VERSION,
        "kind": "serve",
        "xai": XAI_VERSION,
        "machine": describe_machine(),
        "seconds": seconds,
        "target": target,
    }
    if "://" in target:
        name, bodies = bodies_for(demo=True)
        server = Server(target, bodies)
        wait_until_ready(server)
        loads = closed_loads(server, seconds, say)
        opened = open_loads(server, max(row["throughput"] for row in loads), seconds, say)
        return {**about, "inputs": name, "closed": loads, "knee": knee(opened), "open": opened, "baseline": None}
    name, bodies = bodies_for(demo=target == "demo")
    say("baseline: the same server without batches")
    with running(target, [*WHOLE, *UNBATCHED], bodies) as server:
        baseline = closed_loads(server, seconds, say)
    say("the server")
    with running(target, WHOLE, bodies) as server:
        loads = closed_loads(server, seconds, say)
        opened = open_loads(server, max(row["throughput"] for row in loads), seconds, say)
    return {**about, "inputs": name, "closed": loads, "knee": knee(opened), "open": opened, "baseline": baseline}
