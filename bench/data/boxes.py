"""The box features of a data set's images, for models that take boxes in place of pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xai.base.errors import BadInput, XaiError
from xai.base.files import hash_file
from xai.runtime.inputs import boxes, decode
from xai.runtime.inputs.boxes import BoxFeatures, read_boxes


def image_id(image: str) -> str:
    """What files of box features call a data set's image: the name of its file without the suffix."""
    path = Path(image)
    return path.stem if path.suffix.lower() in (*decode.SUFFIXES, *boxes.SUFFIXES) else path.name


@dataclass(frozen=True)
class BoxSource:
    """A file of box features (the published TSV, or an npz of one image), or a folder of files `IMAGE.npz`."""

    path: Path

    def check(self, images: Iterable[str]) -> None:
        """Raise `BadInput` where there is nothing of that name, or where two of the images would be given the same boxes."""
        if not self.path.exists():
            raise BadInput(f"box features {self.path} do not exist: name an .npz, a .tsv, or a folder of IMAGE.npz")
        known: dict[str, str] = {}
        for image in images:
            name = "its one image" if self.path.suffix.lower() == ".npz" and self.path.is_file() else image_id(image)
            if known.setdefault(name, image) != image:
                raise BadInput(f"box features {self.path}: images {known[name]} and {image} would both get those of {name}: rename one")

    def read(self, image: str) -> BoxFeatures:
        """The box features of a data set's image. Raises `BadInput` where there are none, or none that can be used."""
        return read_boxes(self.path, image_id(image))

    def sha256(self, images: Iterable[str]) -> str:
        """Of the file, or of a folder's files of these images with their names; one that is missing counts as such."""
        try:
            if not self.path.is_dir():
                return hash_file(self.path)
            digest = hashlib.sha256()
            for name in sorted({f"{image_id(image)}.npz" for image in images}):
                file = self.path / name
                digest.update(f"{name} {hash_file(file) if file.is_file() else '-'}\n".encode(errors="surrogateescape"))
            return digest.hexdigest()
        except OSError as error:
            raise XaiError(f"box features {self.path} cannot be read: {error.strerror}") from error
