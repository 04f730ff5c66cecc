"""Answers without an explanation, perhaps with patches or words left out."""
