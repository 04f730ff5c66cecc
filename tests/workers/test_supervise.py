from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai.base.errors import XaiError
from xai.tests.workers.crews import ScriptedCrew, board, results_of, sample
from xai.workers.crew import Chunk, Ended, Excerpt, Finished, Refused
from xai.workers.supervise import AHEAD, MOST_DEATHS, Supervisor

pytestmark = pytest.mark.filterwarnings("error")


def cut(sizes: list[int]) -> list[Chunk]:
    stops = list(itertools.accumulate(sizes))
    return [Chunk(stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]


def supervised(crew, chunks, folder) -> Supervisor:
    return Supervisor(crew, [sample(i) for i in range(chunks[-1].stop)], board(folder, chunks[-1].stop))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("boards")


SIZES = st.lists(st.integers(1, 3), min_size=1, max_size=40)


@given(sizes=SIZES, places=st.integers(1, 6), seed=st.integers(0, 2**32), risk=st.floats(0, 0.9))
def test_whoever_ends_whenever_every_chunk_comes_once_and_in_order(folder, sizes, places, seed, risk) -> None:
    chunks, random = cut(sizes), Random(seed)

    def fate(task, tries):
        may_end = tries % MOST_DEATHS if task is None else tries < MOST_DEATHS
        return Ended if may_end and random.random() < risk else Finished

    crew = ScriptedCrew(places, fate, random)
    supervisor = supervised(crew, chunks, folder)
    found = []
    for number, lines in enumerate(supervisor.measure(chunks)):
        found.append(lines)
        latest = max(chunks.index(chunk) for chunk in crew.begun)
        assert latest <= number + AHEAD * places
    assert found == [results_of(chunk) for chunk in chunks]
    assert crew.left
    state = supervisor.board.state
    assert sum(worker.chunks for worker in state.workers) == len(chunks)
    assert sum(worker.questions for worker in state.workers) == chunks[-1].stop
    assert len(state.retries) == len(crew.begun) - len(chunks)


@given(sizes=SIZES, places=st.integers(1, 6), seed=st.integers(0, 2**32), data=st.data())
def test_all_before_a_chunk_that_cannot_be_measured_is_given_and_nothing_after(folder, sizes, places, seed, data) -> None:
    chunks = cut(sizes)
    bad = data.draw(st.sampled_from(chunks))
    crew = ScriptedCrew(places, lambda task, _: Refused if task and task.chunk == bad else Finished, Random(seed))
    found = []
    with pytest.raises(XaiError, match="cannot measure"):
        for lines in supervised(crew, chunks, folder).measure(chunks):
            found.append(lines)
    assert found == [results_of(chunk) for chunk in chunks[: chunks.index(bad)]]
    assert crew.left


def test_a_chunk_that_ends_three_workers_ends_the_run_and_is_named(folder, caplog) -> None:
    chunks = cut([2] * 6)
    crew = ScriptedCrew(2, lambda task, _: Ended if task and task.chunk == (4, 6) else Finished, Random(0))
    supervisor, found = supervised(crew, chunks, folder), []
    with pytest.raises(XaiError, match=r"questions 4 to 5 \(image 4, image 5\) ended 3 workers, the last one by SIGKILL") as caught:
        for lines in supervisor.measure(chunks):
            found.append(lines)
    assert "--resume" in str(caught.value)
    assert found == [results_of(chunk) for chunk in chunks[:2]]
    assert crew.begun.count((4, 6)) == MOST_DEATHS
    assert [retry.chunk for retry in supervisor.board.state.retries] == [(4, 6)] * 2
    assert sum("another one takes questions 4 to 5" in record.getMessage() for record in caplog.records) == 2


def test_where_no_worker_opens_the_model_the_run_ends_with_its_sentence(folder) -> None:
    chunks = cut([1] * 3)
    refusing = ScriptedCrew(2, lambda task, _: Finished if task else Refused, Random(0))
    with pytest.raises(XaiError, match="cannot measure opening"):
        next(supervised(refusing, chunks, folder).measure(chunks))
    dying = ScriptedCrew(2, lambda task, _: Finished if task else Ended, Random(0))
    with pytest.raises(XaiError, match=r"no worker can be kept: the last one ended .SIGKILL"):
        next(supervised(dying, chunks, folder).measure(chunks))
    assert dying.tries["opening"] <= 2 * MOST_DEATHS


def test_a_place_where_no_worker_can_be_kept_is_left_to_the_others(folder) -> None:
    chunks = cut([1] * 20)

    class OneIsTooMany(ScriptedCrew):
        def _report(self, place, task):
            if task is None and place == 2:
                self.tries["second"] += 1
                return Ended(place, "SIGKILL: out of memory?")
            return super()._report(place, task)

    crew = OneIsTooMany(2, lambda *_: Finished, Random(0))
    assert list(supervised(crew, chunks, folder).measure(chunks)) == [results_of(chunk) for chunk in chunks]
    assert crew.tries["second"] == MOST_DEATHS


def test_a_crew_that_grows_and_shrinks_is_used_as_it_is(folder) -> None:
    chunks = cut([1] * 60)
    crew = ScriptedCrew(1, lambda *_: Finished, Random(0))
    supervisor, most = supervised(crew, chunks, folder), 0
    for number, _ in enumerate(supervisor.measure(chunks)):
        crew.places = 4 if number < 40 else 1
        most = max(most, len(crew.pending) + len(crew.idle))
    assert most == 4


def test_no_worker_is_started_that_would_find_nothing_to_do(folder) -> None:
    chunks = cut([1, 1])
    crew = ScriptedCrew(6, lambda *_: Finished, Random(0))
    assert len(list(supervised(crew, chunks, folder).measure(chunks))) == 2
    assert crew.tries["opening"] == 2
    assert list(supervised(crew, chunks, folder).measure([])) == []


def test_an_excerpt_has_the_numbers_of_the_whole() -> None:
    whole = [sample(i) for i in range(9)]
    part = Excerpt(3, tuple(whole[3:6]))
    assert [part[i] for i in range(3, 6)] == whole[3:6]
    assert part[3:5] == tuple(whole[3:5])
    for outside in (2, 6):
        with pytest.raises(IndexError):
            part[outside]
