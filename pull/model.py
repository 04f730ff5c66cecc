"""A model with its tokenizer and its answers: what would be fetched, and the fetching of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xai.base.errors import BadInput
from xai.base.files import cache_folder
from xai.pull.cache import Record, check_sizes, offline, read_record, sort_answers
from xai.pull.catalogue import Entry, Repository, Source, Web, find_entry, known, near
from xai.pull.download import check_space, fetch_web, probe
from xai.pull.hub import Snapshot, fetch_repository, hub_cache, is_cached, known_record, look_up


@dataclass(frozen=True)
class PlannedFile:
    """A file of a model: where it comes from, its size (None where nobody states it), whether it lies in the cache, and its published
    hash, None where there is none."""

    name: str
    source: Source
    bytes: int | None
    cached: bool
    published: str | None


@dataclass(frozen=True)
class Plan:
    """What is to be done for a model; the snapshots are of its repositories, None where the network is forbidden."""

    entry: Entry
    files: tuple[PlannedFile, ...]
    snapshots: dict[Repository, Snapshot | None]


def find_pullable(name: str) -> Entry:
    """The entry of a name, of the catalogue or remote. Raises `BadInput`, with near names, where there is none."""
    entry = find_entry(name)
    if entry is None:
        hint = near(name) or f"known are {', '.join(known())}; or give hf://ORG/REPO or a URL"
        raise BadInput(f"no model is called {name}: {hint}")
    return entry


def make_plan(entry: Entry) -> Plan:
    """What would be fetched for a model: asks for sizes, fetches nothing. Raises `XaiError` where something cannot be had or does not fit
    on the disk."""
    files: list[PlannedFile] = []
    snapshots: dict[Repository, Snapshot | None] = {}
    for source in entry.sources:
        if isinstance(source, Web):
            files.append(_plan_web(source))
        elif offline():
            kept = known_record(source).files
            files += [PlannedFile(name, source, one.bytes, True, one.sha256) for name, one in kept.items()]
            snapshots[source] = None
        else:
            snapshot = snapshots[source] = look_up(source)
            files += [
                PlannedFile(one.name, source, one.bytes, is_cached(source, snapshot, one), one.sha256 or one.git) for one in snapshot.files
            ]
    plan = Plan(entry, tuple(files), snapshots)
    for folder, kind in ((cache_folder(), Web), (hub_cache(), Repository)):
        wanted = sum(one.bytes or 0 for one in files if isinstance(one.source, kind) and not one.cached)
        check_space(folder, wanted, entry.name)
    return plan


def _plan_web(source: Web) -> PlannedFile:
    record = read_record(source)
    if record is not None and check_sizes(record) is None:  # what it holds is compared when it is carried out
        return PlannedFile(source.name, source, record.bytes, True, source.sha256)
    return PlannedFile(source.name, source, source.bytes or probe(source), False, source.sha256)


def carry_out(plan: Plan) -> Iterator[Record]:
    """Fetch what a plan says, a record for each of its sources. Raises `XaiError` where something cannot be had; what came before stays."""
    for source in plan.entry.sources:
        record = fetch_web(source) if isinstance(source, Web) else fetch_repository(source, plan.snapshots[source])
        if source == plan.entry.answers and plan.entry.sorted_answers:
            sort_answers(record.folder / next(iter(record.files)))
        yield record
