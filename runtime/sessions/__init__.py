"""Who runs a model's graphs, and what is asked of whoever does."""
