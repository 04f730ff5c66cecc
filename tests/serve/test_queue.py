"""The queue of a model: who goes together, in which order, how long one waits, and what a failure costs whom."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from xai.serve.errors import Refusal
from xai.serve.gauges import Gauges
from xai.serve.queue import Batcher
from xai.serve.settings import Settings


class Model:
    """Notes its batches; waits in the first one until it is let go, so that a test decides what has arrived by the second."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go = threading.Event()

    def run(self, works: Sequence[str]) -> list[str]:
        self.batches.append(list(works))
        assert self.go.wait(10)
        if any(work.startswith("bad") for work in works):
            raise ValueError("a bad one is among them")
        return [work.upper() for work in works]


@contextmanager
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def play(scene: Callable[[Model, Batcher[str, str]], Awaitable[None]], **settings: float) -> tuple[Model, Gauges]:
    model, gauges = Model(), Gauges()

    async def main() -> None:
        with executor() as pool:
            batcher = Batcher("m", model.run, pool, Settings(**{"max_wait_ms": 0, "max_batch": 4, **settings}), gauges)
            batcher.start()
            try:
                await asyncio.wait_for(scene(model, batcher), 20)
            finally:
                model.go.set()
                await batcher.stop()

    asyncio.run(main())
    return model, gauges


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)


async def send(batcher: Batcher[str, str], *works: str) -> list[asyncio.Task]:
    tasks = []
    for work in works:
        tasks.append(asyncio.ensure_future(batcher.submit(work, key=work[-1])))
        await asyncio.sleep(0)
    return tasks


def test_what_can_go_together_does_in_the_order_of_arrival() -> None:
    async def scene(model, batcher) -> None:
        first = await send(batcher, "first-a")
        await until(lambda: model.batches)
        rest = await send(batcher, "1-b", "2-a", "3-b", "4-a", "5-b", "6-b", "7-b", "8-c")
        model.go.set()
        passed = await asyncio.gather(*first, *rest)
        assert [one.result for one in passed] == ["FIRST-A", "1-B", "2-A", "3-B", "4-A", "5-B", "6-B", "7-B", "8-C"]
        assert [one.company for one in passed] == [1, 4, 2, 4, 2, 4, 4, 1, 1]

    model, gauges = play(scene)
    assert model.batches == [["first-a"], ["1-b", "3-b", "5-b", "6-b"], ["2-a", "4-a"], ["7-b"], ["8-c"]]
    assert 'xai_batch_size_bucket{le="4.0",model_name="m"} 5.0' in gauges.text().decode()
    assert 'xai_batch_size_sum{model_name="m"} 9.0' in gauges.text().decode()


def test_a_job_waits_for_company_but_not_longer() -> None:
    async def scene(model, batcher) -> None:
        model.go.set()
        start = time.monotonic()
        (one,) = await send(batcher, "1-a")
        await asyncio.sleep(0.05)
        (two,) = await send(batcher, "2-a")
        passed = await one
        assert passed.company == 2
        assert 0.25 <= time.monotonic() - start < 5
        assert (await two).waited < passed.waited

    assert play(scene, max_wait_ms=300)[0].batches == [["1-a", "2-a"]]


def test_a_full_batch_does_not_wait() -> None:
    async def scene(model, batcher) -> None:
        model.go.set()
        await asyncio.gather(*await send(batcher, "1-a", "2-a", "3-a", "4-a"))

    assert play(scene, max_wait_ms=600_000)[0].batches == [["1-a", "2-a", "3-a", "4-a"]]


def test_who_went_away_is_not_run() -> None:
    async def scene(model, batcher) -> None:
        first = await send(batcher, "first-a")
        await until(lambda: model.batches)
        gone, stays = await send(batcher, "gone-a", "stays-a")
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        model.go.set()
        await asyncio.gather(*first, stays)

    assert play(scene)[0].batches == [["first-a"], ["stays-a"]]


def test_who_goes_away_while_it_runs_harms_nobody() -> None:
    async def scene(model, batcher) -> None:
        gone, stays = await send(batcher, "gone-a", "stays-a")
        await until(lambda: model.batches)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        model.go.set()
        assert (await stays).result == "STAYS-A"

    play(scene, max_wait_ms=20)


def test_a_bad_job_fails_alone() -> None:
    async def scene(model, batcher) -> None:
        first = await send(batcher, "first-b")
        await until(lambda: model.batches)
        rest = await send(batcher, "1-a", "bad-a", "3-a")
        model.go.set()
        found = await asyncio.gather(*first, *rest, return_exceptions=True)
        assert [getattr(one, "result", None) for one in found] == ["FIRST-B", "1-A", None, "3-A"]
        assert isinstance(found[2], ValueError)

    assert play(scene)[0].batches == [["first-b"], ["1-a", "bad-a", "3-a"], ["1-a"], ["bad-a"], ["3-a"]]


def test_places_are_bounded_and_come_back() -> None:
    async def scene(model, batcher) -> None:
        with batcher.place(), batcher.place(), batcher.place():
            with pytest.raises(Refusal) as refused, batcher.place():
                pass
            assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
        assert batcher.taken == 0
        with batcher.place():
            pass

    play(scene, queue=1, max_batch=2)


def test_gauges_of_the_queue_go_up_and_down() -> None:
    async def scene(model, batcher) -> None:
        def value(name: str) -> float:
            return batcher._gauges.registry.get_sample_value(name, {"model_name": "m"})

        first = await send(batcher, "first-a")
        await until(lambda: model.batches)
        assert value("xai_queue_size") == 0
        rest = await send(batcher, "1-b", "2-b", "3-b")
        assert value("xai_queue_size") == 3
        rest[0].cancel()
        await asyncio.gather(rest[0], return_exceptions=True)
        assert value("xai_queue_size") == 2
        with batcher.place():
            assert value("xai_in_flight") == 1
        assert value("xai_in_flight") == 0
        model.go.set()
        await asyncio.gather(*first, *rest[1:])
        assert value("xai_queue_size") == 0

    play(scene)
