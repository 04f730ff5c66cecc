"""Explanation -> eyes: picture, page, terminal, files. Nothing else in `runtime` imports this."""
