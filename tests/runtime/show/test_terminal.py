import io
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from xai.runtime.explanation import Answer, Explanation
from xai.runtime.inputs.question import EncodedQuestion, Token, Word
from xai.runtime.inputs.resize import Crop
from xai.runtime.show.terminal import show
from xai.runtime.show.theme import colours


def explanation(words=("What", "is", "this?"), grid=4, hot=(1, 2), method="dsmi-grad", answer="cat", notes=(), target=None) -> Explanation:
    relevance = np.zeros((grid, grid), np.float32)
    relevance[hot] = 1
    tokens = tuple(Token(i, word, word) for i, word in enumerate(["<s>", *words, "</s>"]))
    first, other = Answer(0, answer, 3.0, 0.75), Answer(1, "dog", 1.0, 0.2)
    return Explanation(
        image_name="x.png",
        picture=Image.new("RGB", (60, 40)),
        crop=Crop((10, 0, 50, 40)),
        question=EncodedQuestion(" ".join(words), tokens, tuple(Word(word, (i + 1,)) for i, word in enumerate(words))),
        answer=first,
        target=target or first,
        top=(first, other),
        method=method,
        layers="all",
        image_relevance=relevance,
        text_relevance=np.arange(len(tokens), dtype=np.float32),
        solver=(),
        session="eager",
        precision="float32",
        timings_ms={},
        notes=notes,
    )


def printed(*explanations: Explanation, colour: str | None = None, width: int = 80, no_color: bool = False, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    console = Console(
        file=file, force_terminal=colour is not None, color_system=colour, width=width, no_color=no_color, legacy_windows=False
    )
    show(explanations, console)
    file.flush()
    return file.buffer.getvalue().decode(encoding)


def test_a_pipe_gets_shades_and_no_escapes():
    text = printed(explanation())
    assert "\x1b" not in text
    assert "Answer: cat 75.0%" in text
    assert "this?█" in text
    grid = [line[3:-1] for line in text.splitlines() if line.startswith("  │")]
    assert grid == [" " * 8, " " * 4 + "██" + " " * 2, " " * 8, " " * 8]


def test_no_color_gets_shades():
    assert "48;2;" not in printed(explanation(), colour="truecolor", no_color=True)
    assert "│" in printed(explanation(), colour="truecolor", no_color=True)


def test_a_terminal_gets_half_blocks():
    text = printed(explanation(), colour="truecolor")
    bright = ";".join(map(str, colours(np.ones(1))[0]))
    assert f"48;2;{bright}m this? " in text
    lines = [line for line in text.splitlines() if "▀" in line]
    assert len(lines) == 4 * 9 / 2  # nine columns of the terminal for a patch, two rows to a line
    cells = [re.findall(r"38;2;([\d;]+);48;2;([\d;]+)m(▀+)", line) for line in lines]
    # The hot patch is the third of four, in the second of four rows.
    rows = [half for line in cells for half in zip(*[(u, lo) for u, lo, run in line for _ in run], strict=True)]
    hot = np.argwhere([[cell == bright for cell in row] for row in rows])
    assert hot.min(axis=0).tolist() == [9, 18]
    assert hot.max(axis=0).tolist() == [17, 26]


@pytest.mark.parametrize("grid", [1, 3, 12, 36, 50])
@pytest.mark.parametrize("colour", [None, "truecolor", "256", "standard"])
@pytest.mark.parametrize("width", [20, 80])
def test_the_grid_fits(grid, colour, width):
    text = re.sub(r"\x1b\[[\d;]*m", "", printed(explanation(grid=grid, hot=(0, 0)), colour=colour, width=width))
    assert all(len(line) <= width for line in text.splitlines())


def test_answers_come_once_and_methods_each():
    text = printed(explanation(), explanation(method="rollout"))
    assert text.count("Answer:") == 1
    assert text.count("dog") == 1
    assert "dsmi-grad (layers: all)" in text and "rollout" in text
    assert text.count("this?█") == 2


def test_another_target_is_named():
    assert "Explained instead: dog 20.0%" in printed(explanation(target=Answer(1, "dog", 1.0, 0.2)))


def test_notes_are_printed():
    assert "Note: image0: in two pieces" in printed(explanation(notes=("image0: in two pieces",)))
    assert "Note: words: there is only one" in printed(explanation(words=("Why?",)))


def test_what_a_reader_typed_steers_nothing():
    text = printed(explanation(words=("[red]a[/red]", ":cat:", "\x1b[31mb", "😀\udcff"), answer="[bold]x"), colour="truecolor")
    assert "[red]a[/red]" in text and ":cat:" in text and "[bold]x" in text and "😀" in text
    assert "\x1b[31m" not in text


def test_a_console_without_unicode():
    text = printed(explanation(), encoding="ascii")
    assert "##" in text and "Answer: cat" in text


def test_sixteen_colours_get_shades():
    """Rounded to sixteen colours, most of the ramp is black."""
    text = printed(explanation(), colour="standard")
    assert "▀" not in text and not re.search(r"\x1b\[[\d;]*4\d", text)
    assert "this?█ 3" in text
    assert [line[3:-1] for line in text.splitlines() if line.startswith("  │")][1] == " " * 4 + "██" + " " * 2


def test_words_carry_their_scores_on_the_same_line():
    words = tuple(f"word{i}" for i in range(40))
    for colour in None, "truecolor":
        plain = re.sub(r"\x1b\[[\d;]*m", "", printed(explanation(words=words), colour=colour))
        for i, word in enumerate(words):
            assert re.search(rf"{word}[ ░▒▓█] ?{i + 1}\b", plain)


def test_what_is_nearly_constant_has_the_middle_shade():
    one = explanation(grid=2, hot=(slice(None), slice(None)))
    assert [line[3:-1] for line in printed(one).splitlines() if line.startswith("  │")] == ["▒▒▒▒", "▒▒▒▒"]
    assert "▒ where scores are nearly constant" in printed(one, width=1000)


def test_several_methods_are_compared():
    assert "How far the maps agree" not in printed(explanation())
    for encoding in "utf-8", "ascii":
        text = printed(explanation(), explanation(method="rollout", hot=(0, 0)), encoding=encoding)
        assert "How far the maps agree" in text and "-0.07" in text  # one patch of 16 each, another one
