"""What the report shows of single questions: made from maps, kept, read again, indexed."""

from __future__ import annotations

import base64
import io
import json
from functools import partial
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from xai.base.errors import XaiError
from xai.bench.data.regions import grid_cells, region_of
from xai.bench.data.sample import Sample
from xai.bench.measures.measure import QuestionMaps, Scope
from xai.bench.perturb.answering import PreparedQuestion
from xai.bench.perturb.plan import Maps
from xai.bench.perturb.shown import MAPS, PICTURES, disagreement, read_maps, shown_files, thumbnail
from xai.runtime.inputs.prepare import PreparedImage
from xai.runtime.inputs.question import EncodedQuestion, Token, Word
from xai.runtime.inputs.resize import Crop

METHOD_NAMES = ("dsmi", "rollout", "random")
NASTY = "</script><script>alert(1)</script> \u2028 \ud800 é?"


def measured(index: int, text: str = "Is it?", image: str = "a", drawn: bytes | None = b"jpeg"):
    """A question whose maps are drawn from its index, of a picture that is seen from 1/4 to 3/4 of its width."""
    rng = np.random.default_rng(index)
    cells = grid_cells(2, 3, (2, 0, 6, 4), (8, 4))
    mask = np.zeros((4, 8), bool)
    mask[:2, :4] = True

    tokens = tuple(Token(i, t, t) for i, t in enumerate(("<s>", "Is", "i", "t?", "</s>")))
    question = EncodedQuestion(text, tokens, (Word("Is", (1,)), Word("it?", (2, 3))))
    sample = Sample(f"q{index}", image, text, {"yes": 1.0, "<b>": 0.3}, lambda: image, partial(region_of, mask))
    maps = Maps(tuple(rng.random(6) for _ in METHOD_NAMES), tuple(np.array([0.5, -0.75, 0.25]) * (i + 1) for i in range(len(METHOD_NAMES))))
    prepared = PreparedQuestion(index, sample, (), question, cells, drawn)
    scope = Scope(METHOD_NAMES, ("image", "text"), ("positive", "negative"))
    return SimpleNamespace(prepared=prepared, explained=QuestionMaps(sample, scope, maps, (True,) * 3, ({},) * 3, sample.truth(cells)))


def files_of(*questions, most: int = 100) -> dict[str, bytes]:
    return shown_files(questions, most)


def unpacked(packed: dict) -> np.ndarray:
    steps = np.frombuffer(base64.b64decode(packed["steps"]), np.uint8)
    return packed["low"] + steps / 255 * (packed["high"] - packed["low"])


def test_what_is_kept_is_what_was_found(tmp_path) -> None:
    found = files_of(one := measured(7, NASTY), measured(8), measured(9, image="b"))
    assert set(found) == {f"{MAPS}/000007.js", f"{PICTURES}/000007.jpg", f"{PICTURES}/000009.jpg"}
    path = tmp_path / "000007.js"
    path.write_bytes(found[f"{MAPS}/000007.js"])
    questions = read_maps(path)
    assert [q["picture"] for q in questions] == ["000007.jpg", "000007.jpg", "000009.jpg"]
    first = questions[0]
    assert (first["index"], first["question_id"], first["text"]) == (7, "q7", NASTY)
    assert (first["words"], first["grid"], first["label"]) == (["Is", "it?"], [2, 3], {"yes": 1.0, "<b>": 0.3})
    for name, relevance in zip(METHOD_NAMES, one.explained.maps.image, strict=True):
        kept = unpacked(first["maps"][name]["image"])
        assert np.abs(kept - relevance).max() <= np.ptp(relevance) / 255
        assert kept.argmax() == relevance.argmax()
    assert first["maps"]["rollout"]["words"] == [1.0, -1.5]
    assert unpacked(first["region"]).tolist() == pytest.approx([1, 0.5, 0, 0, 0, 0], abs=0.01)  # the right half of the mask is seen
    assert first["size"] == 0.25  # of the whole picture
    assert json.loads(found[f"{MAPS}/000007.js"].decode()[len('received("maps",7,') : -3])["questions"] == questions


def test_only_the_first_questions_are_kept() -> None:
    assert set(files_of(measured(1), measured(2, image="b"), most=2)) == {f"{MAPS}/000001.js", f"{PICTURES}/000001.jpg"}
    assert files_of(measured(3), most=3) == {}
    without = files_of(measured(3, drawn=None))
    assert set(without) == {f"{MAPS}/000003.js"}


def test_a_large_chunk_is_several_files_that_share_their_pictures(tmp_path) -> None:
    found = files_of(*(measured(i) for i in range(3, 120)), most=1000)
    assert sorted(found) == [f"{MAPS}/000003.js", f"{MAPS}/000053.js", f"{MAPS}/000103.js", f"{PICTURES}/000003.jpg"]
    for name in sorted(found)[:3]:
        path = tmp_path / name.rpartition("/")[2]
        path.write_bytes(found[name])
        first = int(path.stem)
        assert [one["index"] for one in read_maps(path)] == list(range(first, min(first + 50, 120)))
        assert {one["picture"] for one in read_maps(path)} == {"000003.jpg"}


def test_disagreement_is_one_less_the_mean_rank_correlation() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 5, 30).astype(float) for _ in range(4)]
    expected = 1 - np.mean([spearmanr(a, b).statistic for a, b in combinations(maps, 2)])
    assert disagreement(maps) == pytest.approx(expected, abs=1e-4)
    assert disagreement([maps[0], 2 * maps[0] + 1, np.ones(30)]) == 0
    assert disagreement([maps[0], -maps[0]]) == 2
    assert disagreement([maps[0], np.zeros(30)]) is None
    assert disagreement([]) is None


def test_a_thumbnail_shows_what_the_model_saw() -> None:
    picture = Image.new("RGB", (1200, 800), "red")
    picture.paste("blue", (200, 0, 1000, 800))
    image = PreparedImage("a", picture, (np.zeros((3, 8, 8), np.float32),), Crop((200, 0, 1000, 800)), (1, 1), 0, 0)
    with Image.open(io.BytesIO(thumbnail(image))) as small:
        assert small.size == (360, 360)
        assert np.asarray(small.convert("RGB")).reshape(-1, 3).max(0).tolist()[0] < 10
    assert image.picture.size == (1200, 800)


@pytest.mark.parametrize(
    "change", [(b'"index": 7', b'"index": 8'), (b"received", b"_eceived"), (b");\n", b""), (b'"questions"', b'"question"')]
)
def test_a_file_that_was_altered_is_refused(tmp_path, change) -> None:
    path = tmp_path / "000007.js"
    path.write_bytes(files_of(measured(7))[f"{MAPS}/000007.js"].replace(*change))
    with pytest.raises(XaiError, match=r"000007\.js") as caught:
        read_maps(path)
    assert "\n" not in str(caught.value)
