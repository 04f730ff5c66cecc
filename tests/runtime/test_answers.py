from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from xai.base.errors import BadInput, XaiError
from xai.runtime.answers import Answers, load_answers, numbered_answers, softmax
from xai.runtime.inputs.tokenizer import load_tokenizer


@pytest.fixture
def write(tmp_path):
    def write(content, name="answers.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_lists_objects_and_text_files_name_the_rows(write) -> None:
    names = ["yes", "no", "red"]
    assert load_answers(write(names), 3).names == tuple(names)
    assert load_answers(write({str(i): n for i, n in enumerate(names)}), 3).names == tuple(names)
    assert load_answers(write("yes\nno\nred\n", "a.txt"), 3).names == tuple(names)


def test_text_files_break_at_line_feeds_alone_and_end_where_their_names_do(write) -> None:
    odd = ["a\u2028b", "c\x85d", "e\x0cf"]
    for content in ("\n".join(odd), "\ufeff" + "\r\n".join(odd) + "\r\n", "\n".join(odd) + "\n\n \n"):
        assert load_answers(write(content, "a.txt"), 3).names == tuple(odd)
    assert load_answers(write("\ufeff" + json.dumps(odd)), 3).names == tuple(odd)
    assert load_answers(write("yes\n\n", "a.txt"), 2).names == ("yes", "")
    with pytest.raises(XaiError, match="3 names, the classifier 2 rows"):
        load_answers(write("yes\n\nno", "a.txt"), 2)


def test_an_id_without_a_name_gets_one_and_warns_once(write, recwarn) -> None:
    with pytest.warns(UserWarning, match="lacks id 1: called answer_1") as caught:
        assert load_answers(write({"0": "yes", "2": "red"}), 3).names == ("yes", "answer_1", "red")
    assert len(caught) == 1


def test_the_answer_that_the_published_list_lacks_is_the_empty_one(write, recwarn) -> None:
    published = {str(i): f"answer {i}" for i in range(3129) if i != 125}
    assert load_answers(write(published), 3129).names[124:127] == ("answer 124", "", "answer 126")
    assert load_answers(write(published | {"125": "named"}), 3129).names[125] == "named"
    assert not recwarn.list
    del published["7"]
    with pytest.warns(UserWarning, match="lacks id 7: called answer_7"):
        assert load_answers(write(published), 3129).names[125] == ""


@pytest.mark.parametrize("content", [["yes"], ["a", "b", "c", "d"], {"0": "yes"}, {"0": "a", "3": "d"}, {}])
def test_a_list_of_another_length_is_refused(write, content) -> None:
    with pytest.raises(XaiError, match="give the list it was trained with"):
        load_answers(write(content), 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("3", "neither a list"),
        ('{"a": "b"}', "neither a list"),
        ("[1]", "neither"),
        ("[" * 100_000, "not usable JSON|not JSON"),
        ('{"' + "9" * 5000 + '": "a"}', "neither"),
        ('["\\ud800", "b", "c"]', "neither"),
    ],
)
def test_other_content_is_refused(write, content, message) -> None:
    with pytest.raises(XaiError, match=message):
        load_answers(write(content), 3)


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(XaiError, match="does not exist"):
        load_answers(tmp_path / "none.json", 3)
    for name in ("x" * 300, "nul\0"):
        with pytest.raises(XaiError, match="does not exist"):
            load_answers(Path(name), 3)
        with pytest.raises(XaiError, match="neither a file nor in the local"):
            load_tokenizer(name)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(XaiError, match="not text in UTF-8"):
        load_answers(tmp_path / "binary.json", 3)


def test_answers_are_found_by_name_and_by_id() -> None:
    answers = Answers(["yes", "no", "2", "yes"])
    assert answers.find("yes") == 0  # the first of equal names
    assert answers.find("2") == 2  # a name goes before an id
    assert answers.find(3) == answers.find("3") == 3
    assert answers.find(np.int64(3)) == answers.find(np.uint8(3)) == 3
    for wrong in (None, 1.0, True, -1, [1], b"yes", np.float32(1)):
        with pytest.raises(BadInput, match=r"the target is .*: give a whole number of 0 or more"):
            answers.find(wrong)
    for unknown in ("maybe", 4, "4", np.int64(10**12)):
        with pytest.raises(BadInput, match=r"does not know the answer .*: it knows 4, among them yes, no"):
            answers.find(unknown)
    assert numbered_answers(2).names == ("answer_0", "answer_1")


def test_probabilities_keep_the_order_and_sum_to_one_however_large_the_logits() -> None:
    logits = np.array([[1e4, -1e4, 9999.0], [0.0, 0.0, 0.0]])
    found = softmax(logits)
    assert found.shape == logits.shape
    assert np.allclose(found.sum(-1), 1)
    assert np.allclose(found[0], [np.e / (np.e + 1), 0, 1 / (np.e + 1)])
    assert np.array_equal(found[1], softmax(logits[1]))
