"""What Prometheus is told: KServe's four histograms under their own names, and ours."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Gauges:
    """The metrics of one server, in a registry of their own (docs/serve.md, Metrics)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, registry=self.registry, buckets=SECONDS)

        self.preprocess = seconds("request_preprocess_seconds", "Decoding and preprocessing of one picture.", "model_name")
        self.predict = seconds("request_predict_seconds", "Waiting for and computing one answer.", "model_name")
        self.explain = seconds("request_explain_seconds", "Waiting for and computing one explanation.", "model_name")
        self.postprocess = seconds("request_postprocess_seconds", "Drawing or writing one response.", "model_name")
        self.stage = seconds("xai_stage_seconds", "One stage of one pass of a model, whatever its batch.", "stage")
        self.batch_size = Histogram("xai_batch_size", "Requests in a pass.", ["model_name"], registry=self.registry, buckets=SIZES)
        self.queue_size = Gauge("xai_queue_size", "Requests that wait for a pass.", ["model_name"], registry=self.registry)
        self.in_flight = Gauge("xai_in_flight", "Requests that were admitted and not yet answered.", ["model_name"], registry=self.registry)
        self.kept_bytes = Gauge("xai_image_cache_bytes", "Encoded images that are kept.", ["model_name"], registry=self.registry)
        self.images = Counter(
            "xai_images_total", "Images that a pass needed, encoded or kept.", ["model_name", "from"], registry=self.registry
        )
        self.rejected = Counter("xai_rejected_total", "Requests that got no answer.", ["reason"], registry=self.registry)
        self.requests = Counter("xai_requests_total", "Requests by route and status.", ["path", "code"], registry=self.registry)

    def observe_stages(self, milliseconds: Mapping[str, float]) -> None:
        """Count the stages of one pass."""
        for stage, value in milliseconds.items():
            if stage != "total":
                self.stage.labels(stage).observe(value / 1e3)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
