"""The command `xai explain`: images and questions in, explanations out to files, JSON lines or the terminal."""
