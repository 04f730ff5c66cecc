"""Measurements: what an explanation is worth, and what it costs."""
