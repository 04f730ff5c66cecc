from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xai.base.errors import XaiError
from xai.bench.data.datasets import load_samples
from xai.bench.data.regions import WHOLE, grid_cells, square_cells


def question(text: str, answer: str, words: dict[str, str], of_answer: dict[str, str], image: str = "2407890") -> dict[str, Any]:
    """A question as GQA documents it (visualreasoning.net, Download)."""
    return {
        "semantic": [{"operation": "select", "dependencies": [], "argument": "wall (722332)"}],
        "entailed": [],
        "equivalent": [],
        "question": text,
        "imageId": image,
        "isBalanced": True,
        "groups": {"global": None, "local": "14-wall_on,s"},
        "answer": answer,
        "semanticStr": "select: wall (722332)",
        "annotations": {"answer": of_answer, "question": words, "fullAnswer": words},
        "types": {"detailed": "relS", "semantic": "rel", "structural": "query"},
        "fullAnswer": "The pipe is on the wall.",
    }


QUESTIONS = {
    "201307251": question("What is on the white wall?", "pipe", {"4:6": "722332"}, {"0": "722335"}),
    "201640614": question("Is the sky dark?", "yes", {"2": "2486325"}, {}, "2354786"),
    "201640615": question("Is it night?", "no", {}, {}, "n1"),
}


def box(name: str, x: int, y: int, w: int, h: int) -> dict[str, Any]:
    return {"name": name, "x": x, "y": y, "w": w, "h": h, "attributes": ["white"], "relations": [{"name": "on", "object": "722335"}]}


GRAPHS = {
    "2407890": {
        "width": 640,
        "height": 480,
        "location": "living room",
        "weather": None,
        "objects": {"722332": box("wall", 0, 0, 320, 240), "722335": box("pipe", 160, 120, 320, 240), "9": box("broken", -900, 0, 1, 1)},
    },
    "2354786": {"width": 500, "height": 300, "objects": {"2486325": box("sky", -2, 0, 504, 150)}},
    "1": {"width": "unread", "height": 1, "objects": {}},
}


def write(folder: Path, questions: Any = QUESTIONS, graphs: Any = GRAPHS) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "val_balanced_questions.json").write_text(json.dumps(questions, indent=2))
    (folder / "val_sceneGraphs.json").write_text(json.dumps(graphs))
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(tmp_path / "gqa")


def with_annotations(name: str, **annotations: Any) -> dict[str, Any]:
    one = QUESTIONS[name]
    return {name: one | {"annotations": one["annotations"] | annotations}}


def with_object(**changes: Any) -> dict[str, Any]:
    graph = GRAPHS["2354786"]
    return GRAPHS | {"2354786": graph | {"objects": {"2486325": graph["objects"]["2486325"] | changes}}}


def test_questions_come_with_what_their_words_name(folder) -> None:
    found = {sample.question_id: sample for sample in load_samples(str(folder))}
    assert set(found) == set(QUESTIONS)
    wall = found["201307251"]
    assert (wall.question, wall.label, wall.image) == ("What is on the white wall?", {"pipe": 1.0}, "2407890")
    assert wall.picture() == folder / "images" / "2407890.jpg"
    words = wall.words(square_cells(4, 4))
    assert sorted(words) == [4, 5]  # "white wall?", the end of a span is not in it
    assert np.array_equal(words[4], np.pad(np.ones((2, 2)), ((0, 2), (0, 2))))
    assert np.array_equal(words[5], words[4])
    both = np.zeros((4, 4))
    both[:2, :2] = both[1:3, 1:3] = 1
    assert np.array_equal(wall.truth(square_cells(4, 4)), both)  # the wall, and the pipe that the answer names
    sky = found["201640614"].truth(WHOLE)
    assert sky is not None
    assert sky[0] == 0.5  # what reaches beyond the picture is cut off
    assert found["201640615"].truth(WHOLE) is None
    assert found["201640615"].words(WHOLE) == {}


def test_the_crop_and_boxes_see_their_part_of_an_object(folder) -> None:
    wall = next(s for s in load_samples(str(folder)) if s.question_id == "201307251")
    crop = grid_cells(2, 2, (80, 0, 560, 480), (640, 480))
    assert wall.words(crop)[4].tolist() == [[1, 0], [0, 0]]
    region = wall.truth(crop)
    assert region is not None
    assert region[0, 1] == pytest.approx(160 * 120 / 240**2)
    right = grid_cells(2, 2, (400, 0, 640, 240), (640, 480))
    assert 4 not in wall.words(right)  # beside the crop
    assert wall.words(np.array([[0, 0, 1, 0.5], [0.6, 0.6, 0.9, 0.9]]))[4].tolist() == [0.5, 0]


def test_samples_can_be_sent_to_workers(folder) -> None:
    cells = square_cells(4, 4)
    for sample in load_samples(str(folder)):
        sent = pickle.loads(pickle.dumps(sample))
        assert sent == sample
        assert np.array_equal(sent.truth(cells), sample.truth(cells))
        assert sorted(sent.words(cells)) == sorted(sample.words(cells))


@pytest.mark.parametrize(
    ("questions", "graphs", "message"),
    [
        (with_annotations("201640614", question={"4": "2486325"}), GRAPHS, r"'4' is not within the question's 4 words, counted from 0"),
        (with_annotations("201640614", question={"2:5": "2486325"}), GRAPHS, "'2:5' is not within the question's 4 words"),
        (with_annotations("201640614", question={"2:2": "2486325"}), GRAPHS, "'2:2' is not within"),
        (with_annotations("201640614", question={"sky": "2486325"}), GRAPHS, "'sky' is not the place of a word, such as 4"),
        (with_annotations("201640614", question={"2": 2486325}), GRAPHS, "'2' is an integer, not text"),
        (with_annotations("201640614", question=[]), GRAPHS, "'question' is a list, not an object"),
        (with_annotations("201640614", answer={"0": "77"}), GRAPHS, r"image 2354786: 'objects': '77' is missing, which question 201640614"),
        (QUESTIONS, {}, "has no scene graph of image 2407890, which question 201307251 of val_balanced_questions.json is about"),
        (QUESTIONS, with_object(x=600), r"the box x, y, w, h = 600, 0, 504, 150 lies outside its picture of 500 x 300 pixels"),
        (QUESTIONS, with_object(w=505), "lies outside"),
        (QUESTIONS, with_object(x=-50), "'x' is out of range"),
        (QUESTIONS, with_object(h=0), "'h' is out of range"),
        (QUESTIONS, with_object(y=0.5), "'y' is a number, not an integer"),
        (QUESTIONS, GRAPHS | {"2354786": {"width": 500}}, "image 2354786: 'height' is missing"),
        ({"5": QUESTIONS["201640614"] | {"imageId": "../5"}}, GRAPHS, "'imageId' is not the name of a picture"),
        ({"5": {"question": "?"}}, GRAPHS, "question 5: 'imageId' is missing"),
        ({"5": []}, GRAPHS, "question 5 is a list, not an object"),
        ([], GRAPHS, "is not JSON as expected"),
        ({}, GRAPHS, "holds no question"),
    ],
)
def test_files_that_are_not_gqas_are_one_line(tmp_path, questions, graphs, message) -> None:
    folder = write(tmp_path / "gqa", questions, graphs)
    with pytest.raises(XaiError, match=message) as caught:
        load_samples(str(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ids_given_twice_are_one_line(folder) -> None:
    one = json.dumps(QUESTIONS["201640614"])
    (folder / "val_balanced_questions.json").write_text(f'{{"5": {one}, "5": {one}}}')
    with pytest.raises(XaiError, match="has two questions with the id 5"):
        load_samples(str(folder))
    write(folder)
    graph = json.dumps(GRAPHS["2354786"])
    (folder / "val_sceneGraphs.json").write_text(f'{{"2354786": {graph}, "2354786": {graph}}}')
    with pytest.raises(XaiError, match="has two scene graphs of image 2354786"):
        load_samples(str(folder))


def test_two_files_of_a_kind_are_one_line(folder) -> None:
    (folder / "train_balanced_questions.json").write_text("{}")
    with pytest.raises(XaiError, match=r"holds 2 files \*questions\.json and 1 \*sceneGraphs\.json of GQA: leave one of either"):
        load_samples(str(folder))


def test_the_documented_name_of_the_scene_graphs_will_do(folder) -> None:
    (folder / "val_sceneGraphs.json").rename(folder / "scene_graphs.json")
    (folder / "val_balanced_questions.json").rename(folder / "questions.json")
    assert len(load_samples(str(folder))) == 3
