"""`results.jsonl` -> the table, with intervals, curves, examples and a page."""
