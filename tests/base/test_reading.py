"""Text and JSON from elsewhere: what is taken, and that everything else is one sentence that says where."""

import pytest

from xai.base.errors import XaiError
from xai.base.reading import Fields, parse_json, read_json, read_json_lines, read_text, text_lines


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
