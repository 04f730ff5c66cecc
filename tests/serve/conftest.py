"""A server on loopback, in a thread of its own, that ends with the tests."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

import xai
from xai.runtime.explainer import Explainer
from xai.serve import lifecycle
from xai.serve.app import build
from xai.serve.lifecycle import Life, listen
from xai.serve.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "What color is the circle?"


@dataclasses.dataclass
class Running:
    """A server that runs, and a client of it."""

    url: str
    life: Life
    client: httpx.Client
    thread: threading.Thread

    def ask(self, path: str = "/v1/explain", image: str = "scene1.png", accept: str = "application/json", **fields: str) -> httpx.Response:
        files = {"image": (image, (EXAMPLES / image).read_bytes())}
        return self.client.post(path, files=files, data={"question": QUESTION, **fields}, headers={"Accept": accept})

    def metric(self, name: str) -> float:
        """A sample of /metrics, 0 where it has not been counted."""
        lines = [line for line in self.client.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0


@contextmanager
def run_server(explainers: dict[str, Explainer], wait: bool = True, **changes: object) -> Iterator[Running]:
    settings = Settings(port=0, drain_pause=0, **changes)
    life = Life()
    app = build(explainers, settings, life)
    bound = listen(settings)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    thread = threading.Thread(target=lifecycle.serve, args=(app, life, settings, bound), daemon=True)
    thread.start()
    headers = {"Authorization": f"Bearer {settings.keys[0].decode()}"} if settings.keys else {}
    with httpx.Client(base_url=url, timeout=60, headers=headers, trust_env=False) as client:
        try:
            if wait:
                wait_until(lambda: life.ready)
            yield Running(url, life, client, thread)
        finally:
            life.draining = True
    thread.join(30)
    bound.close()
    assert not thread.is_alive()


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Waits until something is true, with an end."""
    return wait_until


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[Running]]:
    """Serves models within a `with`."""
    return run_server


@pytest.fixture(scope="session")
def demo() -> Explainer:
    return xai.load("demo")


@pytest.fixture(scope="session")
def direct() -> Explainer:
    """The model as a program would use it: what the server says must be what this says."""
    return xai.load("demo")


@pytest.fixture(scope="module")
def server(demo: Explainer) -> Iterator[Running]:
    with run_server({"demo": demo}) as running:
        yield running


@pytest.fixture
def start(until) -> Iterator[Callable[..., tuple[subprocess.Popen, str]]]:
    """`xai serve` as a process, once it is ready."""
    processes: list[subprocess.Popen] = []
    threads: list[threading.Thread] = []

    def begin(*arguments: str, log: list[str] | None = None) -> tuple[subprocess.Popen, str]:
        command = [sys.executable, "-m", "xai", "serve", "--port", "0", *arguments]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        url = process.stderr.readline().split()[2]
        processes.append(process)
        threads.append(threading.Thread(target=([] if log is None else log).extend, args=(process.stderr,)))  # line by line
        threads[-1].start()

        def ready() -> bool:
            try:
                return httpx.get(f"{url}/readyz").status_code == 200
            except httpx.TransportError:
                return False

        until(ready)
        return process, url

    yield begin
    for process, thread in zip(processes, threads, strict=True):
        process.kill()
        process.wait(10)
        thread.join(10)
        process.stderr.close()
