"""A repository of the Hugging Face hub -> the cache of huggingface_hub, every file compared with the hash that the hub states."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xai.base.errors import XaiError, first_line
from xai.base.files import hash_file
from xai.base.lock import locked
from xai.base.messages import LOG
from xai.base.progress import is_watched
from xai.pull.cache import Kept, Record, offline_error, read_record, record_path, require_network, write_record
from xai.pull.catalogue import Repository
from xai.pull.download import check_space

CONFIG = "config.json"
BESIDE = (
    CONFIG,
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
"""What is taken of a model beside its weights, where it is there."""

WEIGHTS = (
    r"model\.safetensors",
    r"model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)",
    r"pytorch_model\.bin",
    r"pytorch_model(-\d+-of-\d+\.bin|\.bin\.index\.json)",
)
"""How files of weights are called, whole or in parts: the first kind that is there is taken, which holds no pickle if it can be helped."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub describes it: its size, and its SHA-256 where it is a large one, else the hash that Git gives it."""

    name: str
    bytes: int
    sha256: str | None
    git: str | None


@dataclass(frozen=True)
class Snapshot:
    """What is to be had of a repository at one commit."""

    commit: str
    files: tuple[RemoteFile, ...]


def look_up(source: Repository) -> Snapshot:
    """What the hub says of a repository's files. Raises `XaiError` where there is none, or it holds no model."""
    require_network(_wanted(source))
    from huggingface_hub import HfApi

    with _one_line(source):
        info = HfApi(library_name="xai").model_info(source.repo, revision=source.revision, files_metadata=True)
    there = {
        one.rfilename: RemoteFile(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else None, one.blob_id)
        for one in info.siblings or ()
    }
    if info.sha is None:
        raise XaiError(f"{source} cannot be fetched: the hub states no commit of it")
    return Snapshot(info.sha, tuple(there[name] for name in _choose(source, list(there))))


def _wanted(source: Repository) -> str:
    return f"{', '.join(source.files) if source.files else 'the model'} of {source}"


def _choose(source: Repository, there: list[str]) -> list[str]:
    """The files to take. Raises `XaiError` where one is missing."""
    if source.files is not None:
        if missing := [name for name in source.files if name not in there]:
            raise XaiError(f"{source} holds no {missing[0]}: its files have changed since this version of xai")
        return list(source.files)
    if CONFIG not in there:
        raise XaiError(f"{source} holds no {CONFIG}: a model is a repository as transformers' save_pretrained writes it")
    for pattern in WEIGHTS:
        if weights := [name for name in there if re.fullmatch(pattern, name)]:
            return [name for name in BESIDE if name in there] + sorted(weights)
    raise XaiError(f"{source} holds no weights that PyTorch reads (model.safetensors or pytorch_model.bin)")


def is_cached(source: Repository, snapshot: Snapshot, file: RemoteFile) -> bool:
    """Whether the cache of huggingface_hub has a file of this commit."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(source.repo, file.name, revision=snapshot.commit), str)


def hub_cache() -> Path:
    """Where huggingface_hub keeps what it downloads."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def fetch_repository(source: Repository, snapshot: Snapshot | None) -> Record:
    """The record of a repository's files at a commit, fetched unless they lie in the cache unchanged; without a snapshot (no network),
    of what lies there. Another process that fetches them is waited for.

    Raises `XaiError` where a file cannot be had, or is not what the hub says: then it is removed.
    """
    place = record_path(source)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise XaiError(f"cannot save {place.parent}: {error.strerror}") from error
    with locked(place.with_suffix(".lock"), str(source), wait=True):
        if snapshot is None:
            return check_repository(source)
        missing = [file for file in snapshot.files if not is_cached(source, snapshot, file)]
        check_space(hub_cache(), sum(file.bytes for file in missing), str(source))
        kept = {file.name: _fetch(source, snapshot, file) for file in snapshot.files}
        folder = next(iter(kept.values()))[0].parent
        record = Record(str(source), folder, {name: one for name, (_, one) in kept.items()}, snapshot.commit)
        write_record(source, record)
        return record


def check_repository(source: Repository) -> Record:
    """The record of files that lie in the cache unchanged. A changed one is removed. Raises `XaiError` where one is not there."""
    record = known_record(source)
    for name, kept in record.files.items():
        path = record.folder / name
        if not path.is_file():
            raise offline_error(f"{name} of {source}")
        if (found := hash_file(path)) != kept.sha256:
            _remove(path)
            raise XaiError(f"{path} was changed since it was pulled (SHA-256 {found}, not {kept.sha256}): it was removed; pull it again")
    return record


def known_record(source: Repository) -> Record:
    """The record of what was pulled, where the network is forbidden. Raises `XaiError`, which says what is wanted, where nothing was."""
    record = read_record(source)
    if record is None:
        raise offline_error(_wanted(source))
    return record


def _fetch(source: Repository, snapshot: Snapshot, file: RemoteFile) -> tuple[Path, Kept]:
    """Where a file lies, and what it is. One that was changed in the cache is fetched again, once."""
    from huggingface_hub import HfApi

    again = is_cached(source, snapshot, file)
    while True:
        with _one_line(source), _bars():
            path = Path(HfApi(library_name="xai").hf_hub_download(source.repo, file.name, revision=snapshot.commit))
        sha256, wrong = _compare(path, file)
        if wrong is None:
            blob = path.resolve()
            for left in blob.parent.glob(f"{blob.name}.*.incomplete"):  # of a run that was killed: the library takes up none of them
                left.unlink(missing_ok=True)
            return path, Kept(path.stat().st_size, sha256, file.sha256 is not None or file.git is not None)
        _remove(path)
        if not again:
            raise XaiError(f"{file.name} of {source} is not the file that the hub describes: {wrong}; it was removed: pull it again")
        LOG.warning("%s was changed since it was downloaded (%s): removed", path, wrong)
        again = False


def _compare(path: Path, file: RemoteFile) -> tuple[str, str | None]:
    """The SHA-256 of a file, and what is wrong with it by what the hub says of it."""
    found, size = hash_file(path), path.stat().st_size
    if size != file.bytes:
        return found, f"it has {size} bytes, not {file.bytes}"
    if file.sha256 is not None:
        return found, None if found == file.sha256 else f"its SHA-256 is {found}, not {file.sha256}"
    git = hashlib.sha1(b"blob %d\0" % size + path.read_bytes(), usedforsecurity=False).hexdigest()
    return found, None if file.git in (None, git) else f"Git's hash of it is {git}, not {file.git}"


def _remove(path: Path) -> None:
    """Remove a file of the cache: what it links to, and the link."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


@contextmanager
def _one_line(source: Repository) -> Iterator[None]:
    """What the library raises, as one line."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except GatedRepoError as error:
        raise XaiError(f"{source} is open to those only who asked for it: ask on its page, and log in by `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise XaiError(f"{source} is no repository of the hub, or a private one (then log in by `hf auth login`)") from error
    except RevisionNotFoundError as error:
        raise XaiError(
            f"{source.repo} has no revision {source.revision} on the hub: give a branch, a tag or a whole commit hash"
        ) from error
    except Exception as error:  # either of two HTTP libraries, by its version; a disk; a check of its own
        raise XaiError(f"{source} cannot be fetched: {first_line(error)}; pull again to go on") from error


@contextmanager
def _bars() -> Iterator[None]:
    """The library's progress bars, only for a person who watches."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    hidden = not is_watched() and not are_progress_bars_disabled()
    if hidden:
        disable_progress_bars()
    try:
        yield
    finally:
        if hidden:
            enable_progress_bars()
