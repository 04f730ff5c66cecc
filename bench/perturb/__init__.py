"""The perturbation test, from questions to `results.jsonl`."""
