"""Image tokens that are kept for the next question about the same picture."""

from __future__ import annotations

from collections import OrderedDict

from xai.spectral.arrays import Array


class KeptImages:
    """Tokens (N, width) of images by the hash of their pixels, least recently used first out, within `limit` bytes. For one thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._kept: OrderedDict[bytes, Array] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: bytes) -> Array | None:
        """The tokens of an image that was kept, from now on the last to go; None where it was not."""
        if key not in self._kept:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return self._kept[key]

    def keep(self, key: bytes, tokens: Array) -> None:
        """Keep an image's tokens, if they fit at all."""
        if tokens.nbytes > self.limit or key in self._kept:
            return
        self._kept[key] = tokens.copy()  # a row of a batch would hold all of it
        self.bytes += tokens.nbytes
        while self.bytes > self.limit:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= oldest.nbytes
