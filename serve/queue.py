"""The one owner of a model's queue: who waits, who goes together, and who is not waited for any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from xai.serve.errors import unavailable
from xai.serve.gauges import Gauges
from xai.serve.settings import Settings

W = TypeVar("W")
R = TypeVar("R")


class Passed(NamedTuple, Generic[R]):
    """What a job came back with: the result, the seconds that it waited, and how many went together."""

    result: R
    waited: float
    company: int


@dataclass(eq=False)
class _Job(Generic[W, R]):
    work: W
    key: Hashable
    arrived: float
    done: asyncio.Future[Passed[R]] = field(repr=False)


class Batcher(Generic[W, R]):
    """Runs jobs in batches, one batch at a time, by `executor`.

    Jobs of equal key may share a batch; the oldest job always goes next, and takes along those of its key in the order of their
    arrival. It waits for company until it is `max_wait_ms` old, not longer. A job whose awaiter was cancelled (the client is gone, the
    deadline has passed) is dropped before it is batched. A batch that fails is run again one by one, so that a bad job fails alone.
    """

    def __init__(
        self, name: str, run: Callable[[Sequence[W]], Sequence[R]], executor: Executor, settings: Settings, gauges: Gauges
    ) -> None:
        self.name = name
        self.taken = 0
        """Requests that have a place: being decoded, waiting, run or drawn."""
        self._run, self._executor, self._settings, self._gauges = run, executor, settings, gauges
        self._waiting: list[_Job[W, R]] = []
        self._arrival = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to run jobs, in the running event loop."""
        self._owner = asyncio.get_running_loop().create_task(self._own(), name=f"queue of {self.name}")

    async def stop(self) -> None:
        """End, once nothing more is to come."""
        if self._owner is not None:
            self._owner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._owner

    @property
    def is_full(self) -> bool:
        return self.taken >= self._settings.places

    def check_room(self) -> None:
        """Raises `Refusal` (503) where all places are taken."""
        if self.is_full:
            raise unavailable("full", f"model {self.name} has {self.taken} requests in flight, as many as it takes: try again")

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the model's places. Raises `Refusal` (503) where all are taken."""
        self.check_room()
        self.taken += 1
        self._count()
        try:
            yield
        finally:
            self.taken -= 1
            self._count()

    async def submit(self, work: W, key: Hashable) -> Passed[R]:
        """Wait for the job's turn and its result. Raises what running it alone raises."""
        loop = asyncio.get_running_loop()
        job: _Job[W, R] = _Job(work, key, loop.time(), loop.create_future())
        self._waiting.append(job)
        self._count()
        self._arrival.set()
        try:
            return await job.done
        finally:
            if not job.done.done():
                job.done.cancel()
            self._drop()

    def _count(self) -> None:
        self._gauges.in_flight.labels(self.name).set(self.taken)
        self._gauges.queue_size.labels(self.name).set(len(self._waiting))

    def _drop(self) -> None:
        """Forget jobs that nobody waits for."""
        self._waiting = [job for job in self._waiting if not job.done.done()]
        self._count()

    async def _own(self) -> None:
        while True:
            await self._arrival.wait()
            batch = await self._next()
            if batch:
                await self._pass(batch)

    async def _next(self) -> list[_Job[W, R]]:
        """The oldest job and its company; nothing where all have gone."""
        loop = asyncio.get_running_loop()
        while True:
            self._arrival.clear()
            self._drop()
            if not self._waiting:
                return []
            oldest = self._waiting[0]
            batch = [job for job in self._waiting if job.key == oldest.key][: self._settings.max_batch]
            left = oldest.arrived + self._settings.max_wait_ms / 1e3 - loop.time()
            if left <= 0 or len(batch) == self._settings.max_batch:
                break
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._arrival.wait(), left)
        self._waiting = [job for job in self._waiting if job not in batch]
        if self._waiting:
            self._arrival.set()
        self._count()
        return batch

    async def _pass(self, batch: list[_Job[W, R]]) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self._gauges.batch_size.labels(self.name).observe(len(batch))
        try:
            results = await loop.run_in_executor(self._executor, self._run, [job.work for job in batch])
        except Exception as error:
            if len(batch) > 1:
                for job in batch:
                    if not job.done.done():
                        await self._pass([job])
            elif not batch[0].done.done():
                batch[0].done.set_exception(error)
            return
        for job, result in zip(batch, results, strict=True):
            if not job.done.done():
                job.done.set_result(Passed(result, begun - job.arrived, len(batch)))
