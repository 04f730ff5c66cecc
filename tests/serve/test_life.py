"""From the start to the last request: readiness, drain, limits of time and place, keys, and metrics that follow what was sent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

import xai
from xai.base.errors import XaiError
from xai.cli import main
from xai.commands.serve import name_models
from xai.serve.settings import read_keys

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "What color is the circle?"


@contextmanager
def held(explainer):
    """The model waits in its next passes until the test lets it go."""
    go = threading.Event()
    originals = explainer.explain_batch, explainer.answer_batch

    def wait(original):
        def run(*arguments, **named):
            assert go.wait(30)
            return original(*arguments, **named)

        return run

    explainer.explain_batch, explainer.answer_batch = map(wait, originals)
    try:
        yield go
    finally:
        go.set()
        explainer.explain_batch, explainer.answer_batch = originals


def test_ready_only_after_a_real_explanation(demo, serving, until) -> None:
    with held(demo) as go, serving({"demo": demo}, wait=False) as server:
        until(lambda: server.client.get("/healthz").status_code == 200)
        for response in (server.client.get("/readyz"), server.ask()):
            assert (response.status_code, response.json()["code"]) == (503, "not_ready")
            assert int(response.headers["retry-after"]) >= 1
        go.set()
        until(lambda: server.client.get("/readyz").status_code == 200)
        assert server.ask().status_code == 200


def test_a_model_that_cannot_explain_ends_the_start(demo) -> None:
    explainer = xai.load("demo")

    def fail(*_, **__):
        raise XaiError("the weights hold NaN")

    explainer.explain_batch = fail
    from xai.serve.app import build
    from xai.serve.lifecycle import Life, listen, serve
    from xai.serve.settings import Settings

    settings, life = Settings(port=0), Life()
    with listen(settings) as bound, pytest.raises(XaiError, match="model demo cannot explain: the weights hold NaN"):
        serve(build({"demo": explainer}, settings, life), life, settings, bound)


def test_a_full_queue_refuses_and_every_gauge_follows(demo, serving, until) -> None:
    with serving({"demo": demo}, queue=3, max_batch=1) as server:
        before = server.metric('xai_requests_total{code="200",path="/v1/explain"}')
        with held(demo) as go, ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(server.ask) for _ in range(10)]
            until(lambda: server.metric('xai_in_flight{model_name="demo"}') == 4 and sum(one.done() for one in asked) == 6)
            until(lambda: server.metric('xai_queue_size{model_name="demo"}') == 3)
            refused = [one.result() for one in asked if one.done()]
            assert {(one.status_code, one.json()["code"], one.headers["retry-after"]) for one in refused} == {(503, "full", "1")}
            go.set()
            codes = sorted(one.result().status_code for one in asked)
        assert codes == [200] * 4 + [503] * 6
        assert server.metric('xai_in_flight{model_name="demo"}') == server.metric('xai_queue_size{model_name="demo"}') == 0
        assert server.metric('xai_rejected_total{reason="full"}') == 6
        assert server.metric('xai_requests_total{code="200",path="/v1/explain"}') - before == 4
        assert server.metric('xai_requests_total{code="503",path="/v1/explain"}') == 6
        warm_ups = 2
        assert (
            server.metric('xai_batch_size_count{model_name="demo"}')
            == server.metric('xai_batch_size_sum{model_name="demo"}')
            == 4 + warm_ups
        )
        for stage in ("evidence", "solver", "methods"):
            assert server.metric(f'xai_stage_seconds_count{{stage="{stage}"}}') == 4 + 1
        assert server.metric('xai_stage_seconds_count{stage="answer"}') == 1
        for name in ("preprocess", "explain", "postprocess"):
            assert server.metric(f'request_{name}_seconds_count{{model_name="demo"}}') == 4
        assert server.metric('request_predict_seconds_count{model_name="demo"}') == 0
        server.ask("/v1/answer")
        assert server.metric('request_predict_seconds_count{model_name="demo"}') == 1
        assert server.metric('xai_images_total{from="encoder",model_name="demo"}') == 2
        assert server.metric('xai_images_total{from="cache",model_name="demo"}') == 5
        assert server.metric('xai_image_cache_bytes{model_name="demo"}') > 0


def test_a_deadline_is_kept_and_what_is_late_is_not_run(demo, serving, until) -> None:
    with serving({"demo": demo}, deadline=0.4, max_batch=1) as server, held(demo) as go:
        passes = server.metric('xai_batch_size_count{model_name="demo"}')
        with ThreadPoolExecutor(3) as pool:
            start = time.monotonic()
            found = [one.result() for one in [pool.submit(server.ask) for _ in range(3)]]
        assert {(one.status_code, one.json()["code"]) for one in found} == {(504, "deadline")}
        assert 0.4 <= time.monotonic() - start < 10
        go.set()
        assert server.metric('xai_in_flight{model_name="demo"}') == 0
        until(lambda: server.ask("/v1/answer").status_code == 200)
        assert (
            server.metric('xai_batch_size_count{model_name="demo"}') <= passes + 2 + 2
        )  # one that had begun; answers until one is in time
        assert server.metric('xai_rejected_total{reason="deadline"}') >= 3


def test_who_hangs_up_is_dropped(demo, serving, until) -> None:
    with serving({"demo": demo}, max_batch=1) as server:
        with held(demo) as go:
            for _ in range(3):
                with pytest.raises(httpx.ReadTimeout):
                    httpx.post(
                        f"{server.url}/v1/explain",
                        files={"image": (EXAMPLES / "scene1.png").read_bytes()},
                        data={"question": QUESTION},
                        timeout=httpx.Timeout(5, read=0.2),
                    )
            until(lambda: server.metric('xai_in_flight{model_name="demo"}') == 0)
            assert server.metric('xai_queue_size{model_name="demo"}') == 0
            go.set()
        assert server.metric('xai_rejected_total{reason="gone"}') == 3
        assert server.metric('xai_requests_total{code="499",path="/v1/explain"}') == 3
        assert server.ask().status_code == 200
        assert server.metric('xai_batch_size_count{model_name="demo"}') == 2 + 1 + 1  # warm-up, the one that ran, the good one


def test_slow_and_half_sent_bodies(demo, serving, until) -> None:
    with serving({"demo": demo}, deadline=0.5) as server:
        host, port = server.url.removeprefix("http://").split(":")
        head = b"POST /v1/explain HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        with socket.create_connection((host, int(port)), 10) as slow:
            slow.sendall(head)
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection((host, int(port)), 10) as half:
            half.sendall(head)
        until(lambda: server.metric('xai_rejected_total{reason="gone"}') == 1)
        assert server.metric('xai_rejected_total{reason="slow"}') == 1


def test_keys(demo, tmp_path, serving) -> None:
    file = tmp_path / "keys"
    file.write_text("first-key\n\nsecond-key\n")
    keys = read_keys(file)
    assert keys == (b"first-key", b"second-key")
    with serving({"demo": demo}, keys=keys) as server:
        assert server.ask().status_code == 200
        assert server.client.get("/metrics").status_code == 200
        stranger = httpx.Client(base_url=server.url, trust_env=False)
        for headers in ({}, {"Authorization": "Bearer first"}, {"Authorization": "Basic first-key"}, {"X-API-Key": "é".encode()}):
            for path in ("/v1/explain", "/metrics", "/v1/nothing"):
                refused = stranger.get(path, headers=headers)
                assert (refused.status_code, refused.json()["code"]) == (401, "key")
        assert stranger.get("/metrics", headers={"X-API-Key": "second-key"}).status_code == 200
        for path in ("/", "/healthz", "/readyz", "/docs", "/openapi.json"):
            assert stranger.get(path).status_code == 200
        assert server.metric('xai_rejected_total{reason="key"}') == 12
        stranger.close()
    with serving({"demo": demo}, keys=keys, open_metrics=True) as server:
        assert httpx.get(f"{server.url}/metrics").status_code == 200
        assert httpx.post(f"{server.url}/v1/explain").status_code == 401


def test_pages_of_other_origins_may_call_only_where_allowed(demo, serving) -> None:
    asking = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    with serving({"demo": demo}) as server:
        assert "access-control-allow-origin" not in server.client.get("/healthz", headers=asking).headers
    with serving({"demo": demo}, cors_origins=("https://a.example",)) as server:
        assert server.client.options("/v1/explain", headers=asking).headers["access-control-allow-origin"] == "https://a.example"
        other = {"Origin": "https://b.example"}
        assert "access-control-allow-origin" not in server.client.get("/healthz", headers=other).headers


def test_pixels_are_counted_before_they_are_decoded(demo, serving) -> None:
    with serving({"demo": demo}, max_pixels=480 * 480 - 1) as server:
        refused = server.ask()
        assert refused.status_code == 422
        assert "megapixels" in refused.json()["error"]


def test_no_page(demo, serving) -> None:
    with serving({"demo": demo}, page=False) as server:
        assert [server.client.get(path).status_code for path in ("/", "/docs")] == [404, 404]


def test_below_a_path(demo, serving) -> None:
    with serving({"demo": demo}, root_path="/xai", keys=(b"k",)) as server:
        page = httpx.get(f"{server.url}/").text  # without a key
        assert '"root":"/xai"' in page and 'href="/xai/docs"' in page
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        assert server.client.get("/openapi.json").json()["servers"] == [{"url": "/xai"}]
        assert f"{server.url}/xai/v1/explain" in server.client.get("/docs").text


def test_two_models_are_told_apart(demo, direct, serving) -> None:
    with serving({"a": demo, "b": direct}) as server:
        assert server.ask(model="a").status_code == server.ask(model="b").status_code == 200
        unnamed = server.ask()
        assert (unnamed.status_code, "a, b" in unnamed.json()["error"]) == (422, True)
        assert server.metric('request_explain_seconds_count{model_name="b"}') == 1


def test_questions_and_pictures_are_not_logged(demo, capfd, serving) -> None:
    for form in ("text", "json"):
        with serving({"demo": demo}, log_format=form) as server:
            server.ask(question="Is the secret circle red?")
            server.client.get("/secret/path?secret=1")
        logged = capfd.readouterr().err
        assert "/v1/explain" in logged and "other" in logged
        assert "secret" not in logged and "scene1" not in logged


def test_sigterm_under_load_loses_none_that_was_accepted(until, start) -> None:
    log: list[str] = []
    process, url = start("--drain-pause", "0.5", log=log)
    codes: list[int] = []
    cut: list[str] = []
    stop = threading.Event()

    def load() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not stop.is_set():
                files, name = {"image": (EXAMPLES / "scene1.png").read_bytes()}, uuid.uuid4().hex
                try:
                    response = client.post("/v1/explain", files=files, data={"question": QUESTION}, headers={"X-Request-Id": name})
                except httpx.ConnectError:
                    return  # no new connections: nothing was accepted
                except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                    cut.append(name)  # as it reached a connection that was being closed: the server's log says whether it was read
                    return
                codes.append(response.status_code)

    try:
        with ThreadPoolExecutor(4) as pool:
            loads = [pool.submit(load) for _ in range(4)]
            until(lambda: len(codes) >= 8)
            process.send_signal(signal.SIGTERM)
            until(lambda: httpx.get(f"{url}/readyz").status_code == 503)
            assert process.wait(30) == 0
            stop.set()
            for one in loads:
                one.result()  # raises what a lost request raises
    finally:
        process.kill()
        stop.set()
    until(lambda: sum("POST /v1/explain" in line for line in log) >= len(codes))
    assert not [name for name in cut if any(name in line for line in log)]
    assert set(codes) <= {200, 503}
    assert codes.count(200) >= 8


def test_sigint_skips_the_pause_and_a_second_signal_ends_at_once(start) -> None:
    process, _ = start("--drain-pause", "60")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    process, _ = start("--drain-pause", "60")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 128 + signal.SIGTERM


def test_what_is_served_without_torch() -> None:
    code = (
        "import sys, xai; from xai.serve.app import build; from xai.serve.lifecycle import Life; from xai.serve.settings import Settings\n"
        "build({'demo': xai.load('demo')}, Settings(), Life()); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_bad_starts_are_one_line(tmp_path, monkeypatch) -> None:
    def refused(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["serve", *arguments])
        assert result.exit_code == 1, result.output
        (line,) = result.stderr.splitlines()
        return line

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"cannot listen on 127.0.0.1 port {port}" in refused("--port", port)
    assert "cannot listen on nonsense.invalid" in refused("--host", "nonsense.invalid", "--port", "0")
    assert "does not exist" in refused("--port", "0", "nothing")
    assert "key file" in refused("--api-key-file", os.devnull)
    assert "cannot be read" in refused("--api-key-file", str(tmp_path / "none"))
    assert "two models are called a" in refused("a=demo", "a=demo")
    assert "cannot be called" in refused("a b=demo")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert "pip install 'xai-vqa[serve]'" in refused()


def test_names_of_models(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("XAI_MODEL", raising=False)
    (tmp_path / "meter.v1").mkdir()
    assert name_models([]) == {"demo": "demo"}
    assert name_models([str(tmp_path / "meter.v1"), "b=demo", "a.ckpt"]) == {
        "meter.v1": str(tmp_path / "meter.v1"),
        "b": "demo",
        "a": "a.ckpt",
    }


def test_every_option_has_an_environment_variable() -> None:
    command = main.commands["serve"]
    own = {option.name for option in command.params if option.envvar and str(option.envvar).startswith("XAI_SERVE_")}
    assert {"host", "port", "max_batch", "max_wait_ms", "queue", "deadline", "max_body", "max_pixels", "api_key_file"} <= own
    assert {"cors_origins", "root_path", "log_format", "no_page", "open_metrics", "drain_pause", "image_cache"} <= own
