"""From an image and a question to an explanation. Imports neither torch nor a model's code."""
