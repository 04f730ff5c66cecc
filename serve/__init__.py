"""Explanations over HTTP: one queue per model, batches, KServe's protocols, metrics. No torch."""
