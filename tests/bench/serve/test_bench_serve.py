"""`xai bench serve`: its arithmetic by hand, and a short run against a server."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

import xai
from xai.base.errors import XaiError
from xai.bench.serve.load import Reply, Server, closed, open_loop
from xai.bench.serve.measure import knee, run, summary
from xai.bench.serve.report import SERVING_MARKS, markdown, ratio, read_loads, serving
from xai.bench.suite.report import with_section
from xai.cli import main


class Handler(BaseHTTPRequestHandler):
    """Answers after 10 ms; every fifth request gets 503."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        Handler.count += 1
        time.sleep(0.01)
        self.send_response(503 if Handler.count % 5 == 0 else 200)
        self.send_header("Server-Timing", 'queue;dur=1.5;desc="batch of 3", total;dur=9')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        text = b"process_resident_memory_bytes 2e+08\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url():
    Handler.count = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_closed_clients_ask_one_at_a_time(url) -> None:
    replies = closed(Server(url, [b"{}"]), 3, 0.3)
    assert len(replies) == Handler.count
    assert {reply.status for reply in replies} == {200, 503}
    assert all((reply.batch, reply.queue_ms) == (3, 1.5) for reply in replies)
    assert min(reply.latency for reply in replies) >= 0.01


def test_open_requests_come_whatever_the_answers_do(url) -> None:
    replies = open_loop(Server(url, [b"{}"]), 40, 0.5)
    assert len(replies) == 20
    due = sorted(reply.sent for reply in replies)
    assert due[-1] - due[0] == pytest.approx(19 / 40, abs=1e-6)


def test_a_row_by_hand() -> None:
    replies = [Reply(i, 0.1 * (i + 1), 200, i + 1, 2.0) for i in range(4)] + [Reply(4, 0.02, 503, 0, 0), Reply(5, 1, 0, 0, 0)]
    row = summary("x", replies, 1.0, asked=7)
    assert (row["requests"], row["asked_per_second"], row["other"]) == (6, 7, 1)
    assert row["throughput"] == pytest.approx(4 / 6)
    assert row["p50_ms"] == pytest.approx(250)
    assert row["rejected"] == pytest.approx(1 / 6)
    assert row["rejected_p99_ms"] == pytest.approx(20)
    assert (row["mean_batch"], row["batches"]) == (2.5, {"1": 1, "2": 1, "3": 1, "4": 1})
    with pytest.raises(XaiError, match="answered none of 1"):
        summary("x", [Reply(0, 1, 503, 0, 0)], 1.0)


def test_the_knee_is_the_highest_rate_that_is_kept_up_with() -> None:
    rows = [
        {"throughput": answered, "asked_per_second": asked, "rejected": rejected}
        for asked, answered, rejected in ((10, 10, 0), (20, 19.5, 0), (30, 27, 0), (40, 39, 0.01))
    ]
    assert knee(rows) == 1
    assert knee(rows[2:]) is None


def test_a_report_of_a_server_that_runs(url) -> None:
    report = run(url, 0.2, print)
    text = markdown(report)
    assert text.count("clients") >= 5 and text.count("x capacity") == 5
    assert text.count("(knee)") == 0  # a fifth of the requests is refused
    assert markdown({**report, "knee": 1}).count("0.75 x capacity (knee)") == 1
    assert report["closed"][0]["memory_mb"] == 200
    twice = {**report, "baseline": [{**row, "throughput": row["throughput"] / 2} for row in report["closed"]]}
    assert ratio(twice) == pytest.approx(2)
    assert "batched over unbatched: 2.00" in markdown(twice)
    json.dumps(report)


def test_the_section_of_the_document_is_what_the_committed_reports_give(tmp_path) -> None:
    root = Path(xai.__file__).parent
    text = (root / "docs" / "performance.md").read_text(encoding="utf-8")
    section = serving(read_loads(root / "benchmarks" / "results"))
    assert text == with_section(text, section, SERVING_MARKS), "run: python benchmarks/performance.py"
    assert "16 clients" in section
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "serve.json").write_text('{"kind": "suite"}')
    with pytest.raises(XaiError, match="not a report of `xai bench serve`"):
        read_loads(tmp_path)


def test_what_cannot_be_loaded_is_one_line() -> None:
    for target, message in (("http://127.0.0.1:9", "nobody answers"), ("ftp://a", "not the URL"), ("nothing", "does not exist")):
        result = CliRunner().invoke(main, ["bench", "serve", target, "--seconds", "0.2"])
        assert result.exit_code == 1, result.output
        assert message in result.stderr.splitlines()[-1]
