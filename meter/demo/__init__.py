"""A small METER that ships with the package, and everything it was trained with."""
