"""An exported model on disk: its table of contents, and the reader that trusts nothing."""
