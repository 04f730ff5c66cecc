"""The server on Ray Serve: two replicas lose one under load, in a network of their own where all that Ray listens on is loopback."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from xai.base.errors import BadInput

pytest.importorskip("ray")

from xai.serve.ray import app, middlewares

SCRIPT = Path(__file__).with_name("ray_load.py")


@pytest.mark.slow
def test_every_request_is_answered_or_gets_503_when_a_replica_is_killed(tmp_path) -> None:
    """Half a minute."""
    alone = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if not (shutil.which("unshare") and shutil.which("ip")) or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a network namespace")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "xai.serve.ray:middlewares",
    }
    done = subprocess.run([*alone, sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))  # Ray prints, too
    assert seen["replicas"] == 2
    assert seen["broken"] == {}
    assert set(seen["statuses"]) <= {"200", "503"}
    assert seen["statuses"]["200"] > 100
    assert seen["answers"] == ["scene1.png: red", "scene2.png: black", "scene3.png: teal"]
    assert seen["metrics"]


START = {"type": "http.response.start", "status": 500, "headers": []}
BODY = {"type": "http.response.body", "body": b"the application's own"}


@pytest.mark.parametrize(
    ("sent", "status"), [([], 503), ([START], 503), ([START, BODY], 500)], ids=["nothing came", "half an answer", "the application's own"]
)
def test_the_proxy_says_503_of_a_replica_that_ended(sent, status) -> None:
    async def proxy(scope, receive, send) -> None:
        for message in sent:
            await send(message)

    (middleware,) = middlewares()
    wrapped = middleware.cls(proxy, *middleware.args, **middleware.kwargs)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(wrapped), base_url="http://test") as client:
            return await client.get("/")

    given = asyncio.run(ask())
    assert given.status_code == status
    if status == 503:
        assert given.headers["Retry-After"] == "1"
        assert given.json() == {"error": "the replica that had this request ended: send it again", "code": "gone"}
    else:
        assert given.text == "the application's own"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"replicas": "0"}, "replicas is '0'"),
        ({"replicas": "3-2"}, "replicas is '3-2'"),
        ({"threads": "many"}, "threads is 'many': give a number"),
        ({"max_batch": "x"}, "max_batch is 'x': give a number"),
        ({"port": "80"}, "port is no argument here: choose from models, replicas"),
    ],
)
def test_arguments_that_cannot_be_are_one_line(arguments, message) -> None:
    with pytest.raises(BadInput, match=message):
        app(arguments)
