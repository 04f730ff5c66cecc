"""Text and JSON from elsewhere: what is taken, and that everything else is one sentence that says where."""

import json
import subprocess
import sys

import pytest

from xai.base.errors import XaiError
from xai.base.reading import MEGABYTE, Fields, parse_json, read_json, read_json_lines, read_members, read_text, text_lines


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0c", "\x0b", "\x1c"])
def test_only_a_line_feed_ends_a_line(odd) -> None:
    assert text_lines(f"a{odd}b\r\nc\n") == [f"a{odd}b", "c"]


def test_a_byte_order_mark_is_no_character(tmp_path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffräd\n".encode())
    assert read_text(tmp_path / "a.txt") == "räd\n"


def test_json_lines_say_where_they_come_from(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "x\u2028y"}\n\n[1]', encoding="utf-8")
    assert list(read_json_lines(path)) == [(f"{path} line 1", {"a": "x\u2028y"}), (f"{path} line 3", [1])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "is not text in UTF-8 (byte 0)"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[NaN]", "NaN is no number of JSON"),
        (b"[-Infinity]", "-Infinity is no number of JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', "it names 'a' twice"),
        (b"[" + b"9" * 5000 + b"]", "is not JSON"),
        (b" " * 101, "has more than 0.0001 MB"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, content, message) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(XaiError) as error:
        read_json(tmp_path / "a.json", most=10**6 if len(content) != 101 else 100)
    assert message in str(error.value) and str(tmp_path / "a.json") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["none.json", "nul\0.json", ".", "x" * 300])
def test_a_file_that_is_not_there_is_one_line(tmp_path, name) -> None:
    with pytest.raises(XaiError, match="cannot be read"):
        read_json(tmp_path / name)


def test_fields_have_the_type_that_they_must_have() -> None:
    fields = Fields(parse_json('{"a": true, "b": 2, "c": [1, "x"], "d": {"e": 1e999}, "f": "on"}', "it"), "it", "write it again")
    assert fields.get("a", bool) is True
    assert fields.integer("b", 0, 2) == 2
    assert fields.among("f", ("on", "off")) == "on"
    for wrong, message in (
        (lambda: fields.get("a", int), "it: 'a' is true or false, not an integer: write it again"),
        (lambda: fields.get("z", int), "it: 'z' is missing: write it again"),
        (lambda: fields.integer("b", 3, 4), "it: 'b' is out of range, not within 3 and 4: write it again"),
        (lambda: fields.items("c", int), "it: 'c' holds text, not only an integer: write it again"),
        (lambda: fields.inner("d").number("e"), "it: 'd': 'e' is inf, not within"),
        (lambda: fields.among("f", ("off", None)), "it: 'f' is 'on', none of off, None: write it again"),
        (lambda: fields.only("a", "b", "c"), "it: 'd' is not a field that belongs here: write it again"),
        (lambda: Fields([], "it", "write it again"), "it is a list, not an object: write it again"),
    ):
        with pytest.raises(XaiError) as error:
            wrong()
        assert str(error.value).startswith(message)


MEMBERS = {"info": {"a": [1, {"b": None}]}, "questions": [{"x": 1}, "two", 3, [], {}], "é": "\u2028"}


@pytest.mark.parametrize("indent", [None, 2])
def test_members_are_those_of_the_whole(tmp_path, indent) -> None:
    path = tmp_path / "a.json"
    for content in (MEMBERS, {}, {"questions": []}):
        path.write_text("\ufeff \n" + json.dumps(content, indent=indent) + "\n ", encoding="utf-8")
        assert dict(read_members(path)) == content
    path.write_text(json.dumps(MEMBERS, indent=indent))
    assert [value for _, value in read_members(path, inside="questions")] == MEMBERS["questions"]
    assert [name for name, _ in read_members(path, inside="questions")] == list("01234")
    path.write_text('{"a": 1, "a": 2}')
    assert list(read_members(path)) == [("a", 1), ("a", 2)]


def test_every_cut_and_every_changed_byte_is_refused_or_read_as_json_reads_it(tmp_path) -> None:
    path, text = tmp_path / "a.json", json.dumps(MEMBERS, ensure_ascii=True)
    for end in range(len(text)):
        path.write_text(text[:end])
        with pytest.raises(XaiError, match=r"a\.json (is cut short|is not JSON as expected)") as caught:
            list(read_members(path))
        assert "\n" not in str(caught.value)
    for place in range(len(text)):
        for mark in ' ,:{}[]"x0':
            path.write_text(text[:place] + mark + text[place + 1 :])
            try:
                expected = json.loads(path.read_text())
            except ValueError:
                expected = None
            try:
                found = dict(read_members(path))
            except XaiError:
                assert expected is None or not isinstance(expected, dict), path.read_text()
            else:
                assert found == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}', "its object has no list 'questions'"),
        ('{"questions": {}}', "Expecting '\\['"),
        ('{"questions": [1,]}', "Expecting a value"),
        ('{"questions": [1 2]}', "Expecting ','"),
        ('{"questions": [NaN]}', "NaN is no number of JSON"),
        ('{"questions": [{"a": 1, "a": 2}]}', "names 'a' twice"),
        ('{"questions": [1]} x}', "Extra data"),
        ('{"questions": [1', "is cut short: its JSON has no end after 16 characters"),
        ('{"questions": ' + "[" * 100_000 + "}", "nested too deeply"),
    ],
)
def test_lists_that_cannot_be_walked_are_one_line(tmp_path, text, message) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(XaiError, match=message):
        list(read_members(path, inside="questions"))


def test_a_hundred_megabytes_cut_short_take_a_few_times_their_text(tmp_path) -> None:
    path = tmp_path / "large.json"
    item = json.dumps({"question_index": 1, "program": [{"type": "filter", "inputs": [i], "_output": [i]} for i in range(40)]})
    with path.open("w") as file:
        file.write('{"questions": [')
        for _ in range(100_000_000 // (1000 * (len(item) + 1))):
            file.write((item + ",") * 1000)
        file.write(item[:-20])
    assert path.stat().st_size > 95 * MEGABYTE
    code = (
        "import sys; from pathlib import Path; from xai.base.reading import read_members\n"
        "try:\n    print(sum(1 for _ in read_members(Path(sys.argv[1]), inside='questions')))\n"
        "except Exception as error:\n    print(error)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"  # getrusage knows the parent's
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    said, most = done.stdout.splitlines()
    assert said.startswith(f"{path} is cut short")
    assert 1024 * int(most) < 500 * MEGABYTE  # its bytes, copied while they are decoded; its values would take more than a gigabyte
