from __future__ import annotations

import dataclasses
import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xai.base.errors import XaiError
from xai.bench.data.datasets import load_samples
from xai.bench.data.regions import square_cells
from xai.bench.data.sample import Sample, by_image
from xai.bench.data.scenes import SCENE_SIDE, SCENES, samples
from xai.bench.data.vqa import soft_scores

VALID = Path(__file__).parents[4] / "shared" / "vqa" / "valid.json"


def write_jsonl(folder: Path, *entries: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "questions.jsonl").write_text("".join((e if isinstance(e, str) else json.dumps(e)) + "\n" for e in entries))
    return folder


def test_scenes_are_generated_with_their_regions() -> None:
    found = load_samples("scenes", 14, 5)
    for sample, (scene, question) in zip(pickle.loads(pickle.dumps(found)), samples(5, 14), strict=True):
        assert (sample.question, sample.label) == (question.text, {question.answer: 1.0})
        assert sample.picture() == scene.draw(SCENE_SIDE)
        region = sample.truth(square_cells(6, 6))
        assert (region is None) is (not question.region)
        if region is not None:
            assert region.shape == (6, 6)
            assert region.max() > 0
    assert load_samples("scenes", 14, 6) != found
    assert len(load_samples("scenes")) == SCENES
    with pytest.raises(dataclasses.FrozenInstanceError):
        found[0].question = ""


def test_easy_vqa_is_the_test_split_in_the_seeded_order() -> None:
    found = load_samples("easy-vqa")
    assert len(found) == 9673
    assert all(s.picture().is_file() for s in found[:20])
    numbers = list(range(9673))
    random.seed(1234)
    random.shuffle(numbers)
    assert [int(s.question_id) for s in found] == numbers
    assert load_samples("easy-vqa", 7) == found[:7]


def test_the_published_file_loads_in_the_published_order(tmp_path) -> None:
    if not VALID.is_file():
        pytest.skip(f"the published questions are not at {VALID}")
    (tmp_path / "valid.json").write_bytes(VALID.read_bytes())
    (tmp_path / "val2014").mkdir()
    Image.new("RGB", (40, 30), "red").save(tmp_path / "val2014" / "COCO_val2014_000000436936.png")
    entries = json.loads(VALID.read_text())
    order = list(range(len(entries)))
    random.seed(1234)
    random.shuffle(order)
    found = load_samples(str(tmp_path))
    assert len(found) == 3303
    assert [s.question_id for s in found] == [str(entries[i]["question_id"]) for i in order]
    assert [s.label for s in found] == [entries[i]["label"] for i in order]
    assert len({s.image for s in found}) == 600
    assert {s.picture().suffix for s in found if s.image.endswith("436936")} == {".png"}
    assert {s.picture().parent for s in found} == {tmp_path / "val2014"}
    assert load_samples(str(tmp_path), 10) == found[:10]


def test_vqa_v2_files_give_soft_scores(tmp_path) -> None:
    questions = [
        {"image_id": 42, "question": "What is it?", "question_id": 42000},
        {"image_id": 42, "question": "Red?", "question_id": 42001},
    ]
    answers = [["cat"] * 5 + ["a cat"] * 2 + ["dog"] * 2 + ["Two"], ["yes"] * 10]
    annotations = [
        {"question_id": q["question_id"], "answers": [{"answer": a, "answer_id": i} for i, a in enumerate(given)]}
        for q, given in zip(questions, answers, strict=True)
    ]
    (tmp_path / "v2_questions.json").write_text(json.dumps({"data_subtype": "val2014", "questions": questions}))
    (tmp_path / "v2_annotations.json").write_text(json.dumps({"annotations": annotations}))
    found = {s.question_id: s for s in load_samples(str(tmp_path))}
    assert found["42000"].label == {"cat": 1.0, "dog": 0.6, "2": 0.3}
    assert found["42001"].label == {"yes": 1.0}
    assert found["42000"].picture() == tmp_path / "val2014" / "COCO_val2014_000000000042.jpg"
    (tmp_path / "v2_annotations.json").write_text(json.dumps({"annotations": annotations[:1]}))
    with pytest.raises(XaiError, match="no answers to question 42001"):
        load_samples(str(tmp_path))


def test_soft_scores_are_the_mean_over_nine_of_the_other_answers() -> None:
    for n in range(1, 11):
        answers = ["x"] * n + [f"other{i}" for i in range(10 - n)]
        left_out = [sum(a == "x" for j, a in enumerate(answers) if j != i) for i in range(10)]
        assert soft_scores(answers)["x"] == pytest.approx(np.mean([min(1, m / 3) for m in left_out]))


def test_a_folder_of_ones_own(tmp_path) -> None:
    folder = write_jsonl(
        tmp_path,
        {"image": "a.png", "question": "Why?", "label": {"yes": 1, "no": 0.3}, "question_id": 7},
        "",
        {"image": "b/c.png", "question": "Where?", "label": "here"},
    )
    found = {s.question_id: s for s in load_samples(str(folder))}
    assert found["7"] == Sample("7", "a.png", "Why?", {"yes": 1.0, "no": 0.3}, Path)
    assert found["7"].picture() == tmp_path / "a.png"
    assert found["3"].label == {"here": 1.0}
    assert found["3"].picture() == tmp_path / "b" / "c.png"
    assert found["3"].truth(square_cells(4, 4)) is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1 is not JSON"),
        ("[1]", "line 1 is a list, not an object"),
        ({"question": "?", "label": "x"}, "line 1: 'image' is missing"),
        ({"image": "a", "question": 3, "label": "x"}, "'question' is an integer, not text"),
        ({"image": "a", "question": "?", "label": {"x": 2}}, "line 1: 'label': 'x' is 2, not within 0 and 1"),
        ("", "holds no question"),
    ],
)
def test_bad_files_name_the_line(tmp_path, line, message) -> None:
    with pytest.raises(XaiError, match=message):
        load_samples(str(write_jsonl(tmp_path, line)))


def test_bad_data_sets(tmp_path) -> None:
    with pytest.raises(XaiError, match="choose from scenes, easy-vqa"):
        load_samples("coco")
    with pytest.raises(XaiError, match=r"holds neither questions\.jsonl nor valid\.json"):
        load_samples(str(tmp_path))
    entry = {"image": "a", "question": "?", "label": "x", "question_id": "q"}
    with pytest.raises(XaiError, match="more than one question with the id q"):
        load_samples(str(write_jsonl(tmp_path, entry, entry)))
    with pytest.raises(XaiError, match="has 1 questions, not 5"):
        load_samples(str(write_jsonl(tmp_path, entry)), 5)


def test_samples_of_one_image_come_side_by_side() -> None:
    found = [Sample(str(i), image, "?", {}, Path) for i, image in enumerate("abacb")]
    assert [s.question_id for s in by_image(found)] == ["0", "2", "1", "4", "3"]


@pytest.mark.parametrize("text", ["a\u2028b", "a\u2029b", "a\x85b", "a\x0cb"])
def test_only_a_line_feed_ends_a_line(tmp_path, text) -> None:
    entry = json.dumps({"image": "a", "question": text, "label": "x"}, ensure_ascii=False)
    (tmp_path / "questions.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{entry}\r\n{entry}\r\n\r\n".encode())
    assert [s.question for s in load_samples(str(tmp_path))] == [text] * 2
    assert {s.question_id for s in load_samples(str(tmp_path))} == {"1", "2"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("questions.jsonl", "[" * 100_000, "line 1 is not usable JSON: it is nested too deeply"),
        ("questions.jsonl", '{"image": "a", "image": "b", "question": "?", "label": "x"}', "it names 'image' twice"),
        ("questions.jsonl", '{"image": "a", "question": "?", "label": {"x": NaN}}', "NaN is no number"),
        ("questions.jsonl", '{"image": "a", "question": "?", "label": {"x": true}}', "'label': 'x' is true or false"),
        ("questions.jsonl", '{"image": "a", "question": "?", "label": "x", "question_id": true}', "'question_id' is true or false"),
        ("questions.jsonl", '{"image": "a", "question": "?", "label": "x", "question_id": ' + "9" * 5000 + "}", "line 1 is not JSON"),
        ("questions.jsonl", "\udcff", "is not text in UTF-8"),
        ("valid.json", "{}", "valid.json is an object, not a list of questions"),
        ("valid.json", '[{"img_id": "a", "sent": "?", "label": "x", "question_id": 1}]', "entry 0: 'label' is text, not an object"),
        ("valid.json", "[3]", "entry 0 is an integer, not an object"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_one_line(tmp_path, name, content, message) -> None:
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(XaiError, match=message) as caught:
        load_samples(str(tmp_path))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_vqa_v2_files_that_do_not_fit_are_one_line(tmp_path) -> None:
    questions = {"data_subtype": "val2014", "questions": [{"image_id": 1, "question": "?", "question_id": 2}]}
    annotations = {"annotations": [{"question_id": 2, "answers": [{"answer": "x"}]}]}
    for changed, message in (
        (questions | {"data_subtype": 3}, "'data_subtype' is an integer, not text"),
        (questions | {"questions": {}}, "'questions' is an object, not a list"),
        (questions | {"questions": [{"image_id": -1, "question": "?", "question_id": 2}]}, "'image_id' is out of range"),
        ({"annotations": annotations["annotations"] * 2}, "'question_id' is 2, as in an entry before"),
        ({"annotations": [{"question_id": 2, "answers": ["x"]}]}, "'answers' holds text, not only an object"),
    ):
        (tmp_path / "questions.json").write_text(json.dumps(questions if "annotations" in changed else changed))
        (tmp_path / "annotations.json").write_text(json.dumps(changed if "annotations" in changed else annotations))
        with pytest.raises(XaiError, match=message):
            load_samples(str(tmp_path))


def test_a_name_that_is_too_long_is_an_unknown_data_set(tmp_path) -> None:
    with pytest.raises(XaiError, match="unknown data set"):
        load_samples("x" * 5000)
    entry = {"img_id": "a_" + "b" * 300 + "_c", "sent": "?", "label": {}, "question_id": 1}
    (tmp_path / "valid.json").write_text(json.dumps([entry]))
    with pytest.raises(XaiError, match="File name too long"):
        load_samples(str(tmp_path))[0].picture()


def test_progress_is_told_while_scenes_are_made() -> None:
    heard = []
    load_samples("scenes", 3, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 3), (2, 3), (3, 3)]
