"""ONNX Runtime counts what it runs for its makers, unless it is told not to."""

import onnxruntime

import xai


def test_a_session_tells_nobody_what_it_runs(monkeypatch) -> None:
    told = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: told.append(True))
    xai.load(threads=1)
    assert told
