"""What a server can be told. `xai serve` fills this from its options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xai.base.errors import XaiError
from xai.base.reading import read_text, text_lines

MEGABYTE = 1_000_000

MAX_QUESTION = 2_000
"""Characters: a longer question is refused before it is tokenised."""

LONGEST_KEY_FILE = MEGABYTE


@dataclass(frozen=True)
class Settings:
    """Limits and habits of a server; the defaults are those of the command line (docs/serve.md, Options)."""

    host: str = "127.0.0.1"
    port: int = 8000
    max_batch: int = 8
    """Requests in one pass of a model."""
    max_wait_ms: float = 5.0
    """How long a request waits for company, once nothing else keeps it."""
    queue: int = 16
    """Requests that one model takes beyond those of the pass that runs."""
    deadline: float = 30.0
    """Seconds from a request's arrival to its answer."""
    max_body: int = 16 * MEGABYTE
    max_pixels: int = 16 * MEGABYTE
    image_cache: int = 256 * MEGABYTE
    """Bytes of encoded images that each model keeps."""
    keys: tuple[bytes, ...] = ()
    """Any one of them opens the API; none means that it is open."""
    cors_origins: tuple[str, ...] = ()
    root_path: str = ""
    log_format: str = "text"
    page: bool = True
    open_metrics: bool = False
    drain_pause: float = 5.0
    """Seconds between SIGTERM and the end of new connections."""

    @property
    def places(self) -> int:
        """Requests that one model takes at once."""
        return self.queue + self.max_batch

    @property
    def largest_load(self) -> int:
        """Bytes of all that one model may be asked at once, decoded as RGBA, and of the images that it keeps."""
        return self.places * (self.max_body + 4 * self.max_pixels) + self.image_cache


def read_keys(path: Path) -> tuple[bytes, ...]:
    """The keys in a file, one a line; blank lines are left out. Raises `XaiError` where there is none, or one that no header can carry."""
    keys = [line.strip() for line in text_lines(read_text(path, LONGEST_KEY_FILE))]
    keys = [key for key in keys if key]
    if not keys:
        raise XaiError(f"key file {path} holds no key: write one a line")
    if not all(key.isascii() and key.isprintable() and " " not in key for key in keys):
        raise XaiError(f"key file {path} holds a key that is not of ASCII characters without spaces: write another")
    return tuple(key.encode() for key in keys)
