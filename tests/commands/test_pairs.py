"""`xai explain --pairs`: what is taken, what comes out, and that a run that was stopped goes on where it was."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import xai
from xai.cli import main

EXAMPLES = Path(xai.__file__).parent / "examples"
PAIRS = [
    {"image": "scene1.png", "question": "What color is the circle?", "id": "a"},
    {"image": "scene1.png", "question": "Which shape is black?", "id": 7},
    {"image": "scene2.png", "question": "Is there a circle?", "target": "no"},
    {"image": "scene2.png", "question": "Is there a star?", "target": 3},
    {"image": "scene3.png", "question": "Is there a star?"},
    {"image": "scene1.png", "question": "What color is the circle?"},
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs `xai explain --pairs pairs.jsonl` in a folder that holds the file and the examples."""
    monkeypatch.chdir(tmp_path)
    for name in ("scene1.png", "scene2.png", "scene3.png"):
        (tmp_path / name).write_bytes((EXAMPLES / name).read_bytes())
    write(PAIRS)

    def run(*arguments: object, pairs: str = "pairs.jsonl"):
        return CliRunner().invoke(main, ["explain", "--pairs", pairs, *map(str, arguments)])

    return run


def write(pairs: list[dict]) -> None:
    Path("pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))


def lines(file: str = "out.jsonl") -> list[dict]:
    """The lines of a run, without what another run would measure otherwise."""
    found = [json.loads(line) for line in Path(file).read_text().splitlines()]
    for line in found:
        line.pop("timings_ms", None)
    return found


def refused(result, message: str) -> None:
    assert result.exit_code == 1, result.output
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_line_for_each_pair_is_what_explaining_it_alone_gives(run) -> None:
    result = run("--json", "out.jsonl", "-m", "dsmi-grad", "-m", "random", "--seed", 5)
    assert result.exit_code == 0, result.output
    assert result.stdout == "6 pairs -> out.jsonl\n"
    found = lines()
    assert [(line["pair"], line["id"], line["image"]) for line in found] == [
        (number, pair.get("id"), pair["image"]) for number, pair in enumerate(PAIRS, start=1)
    ]
    explainer = xai.load()
    for number, (pair, line) in enumerate(zip(PAIRS, found, strict=True)):
        alone = explainer.explain_methods(pair["image"], pair["question"], ["dsmi-grad", "random"], pair.get("target"), seed=5 + number)
        assert line["target"]["id"] == alone[0].target.id
        for one, other in zip(line["explanations"], alone, strict=True):
            assert one["image_relevance"] == pytest.approx(other.image_relevance.ravel().tolist(), rel=1e-4, abs=1e-6)


def test_csv_gives_the_same(run) -> None:
    write([pair | {"target": "3"} if pair.get("target") == 3 else pair for pair in PAIRS])  # CSV has text only: the answer "3"
    Path("pairs.csv").write_text(
        "id,question,image,target\n" + "".join(f'{p.get("id", "")},"{p["question"]}",{p["image"]},{p.get("target", "")}\n' for p in PAIRS),
        encoding="utf-8-sig",
    )
    assert run("--json", "a.jsonl", pairs="pairs.csv").exit_code == 0
    assert run("--json", "b.jsonl").exit_code == 0
    for a, b in zip(lines("a.jsonl"), lines("b.jsonl"), strict=True):
        assert a["explanations"] == b["explanations"]
        assert a["target"] == b["target"]


def test_a_pair_may_name_what_its_answer_is_held_against(run) -> None:
    asked = {"image": "scene1.png", "question": "What color is the circle?"}
    pairs = [asked | more for more in ({"versus": "blue"}, {"target": "no", "versus": "yes"}, {}, {"target": "red"})]
    write(pairs)
    assert run("--json", "out.jsonl", "--versus", "green").exit_code == 0
    named = [(line["target"]["text"], line["versus"]["text"]) for line in lines()]
    assert named == [("red", "blue"), ("no", "yes"), ("red", "green"), ("red", "green")]
    explainer = xai.load()
    for line, (target, versus) in zip(lines(), named, strict=True):
        alone = explainer.explain(asked["image"], asked["question"], target=target, versus=versus).image_relevance.ravel()
        assert line["explanations"][0]["image_relevance"] == pytest.approx(alone.tolist(), rel=1e-4, abs=1e-5 * float(abs(alone).max()))
    Path("pairs.csv").write_text("image,question,versus\nscene1.png,What color is the circle?,blue\n")
    assert run("--json", "csv.jsonl", pairs="pairs.csv").exit_code == 0
    assert lines("csv.jsonl")[0]["versus"]["text"] == "blue"
    write([{"image": "scene1.png", "question": "What color is the circle?", "versus": "red"}])
    refused(run("--json", "own.jsonl"), "line 1: versus names the model's own answer")


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 4, 5, 6])
def test_a_run_that_was_cut_off_goes_on_and_gives_the_same(run, kept) -> None:
    assert run("--json", "out.jsonl").exit_code == 0
    whole, content = lines(), Path("out.jsonl").read_bytes()
    done = b"".join(content.splitlines(keepends=True)[:kept])
    Path("out.jsonl").write_bytes(done + content[len(done) :][:50])  # and a part of the next line
    result = run("--json", "out.jsonl", "--resume")
    assert result.exit_code == 0, result.output
    assert lines() == whole
    assert Path("out.jsonl").read_bytes().startswith(done)


def test_lines_of_other_work_are_not_gone_on_with(run) -> None:
    assert run("--json", "out.jsonl").exit_code == 0
    before = Path("out.jsonl").read_bytes()
    refused(run("--json", "out.jsonl"), "out.jsonl is there already: go on with it with --resume")
    refused(run("--json", "out.jsonl", "--resume", "-m", "rollout"), "out.jsonl line 1: 'key' tells of another pair, model or option")
    refused(run("--json", "out.jsonl", "--resume", "--session", "eager"), "'key' tells of another")
    write([{**PAIRS[0], "question": "Is there a star?"}, *PAIRS[1:]])
    refused(run("--json", "out.jsonl", "--resume"), "'key' tells of another")
    write(PAIRS[:3])
    refused(run("--json", "out.jsonl", "--resume"), "is 4, and there are 3 pairs")
    write(PAIRS)
    Path("out.jsonl").write_bytes(b"".join(before.splitlines(keepends=True)[1:]))
    refused(run("--json", "out.jsonl", "--resume"), "out.jsonl line 1: 'pair' is not that of pairs.jsonl line 1")
    Path("out.jsonl").write_bytes(b"{}\n")
    refused(run("--json", "out.jsonl", "--resume"), "out.jsonl line 1: 'pair' is missing")


def test_one_process_at_a_time(run) -> None:
    with Path("out.jsonl").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused(run("--json", "out.jsonl", "--resume"), "out.jsonl is being written by another process")


def test_a_broken_pair_stops_the_run_or_is_noted(run) -> None:
    Path("broken.png").write_text("no image")
    write([*PAIRS[:2], {"image": "broken.png", "question": "Why?"}, *PAIRS[2:]])
    refused(run("--json", "out.jsonl"), "pairs.jsonl line 3: broken.png is not an image")
    assert len(lines()) == 2  # what came before is done
    result = run("--json", "out.jsonl", "--resume", "--skip-broken")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[-1] == "Warning: 1 of 7 pairs could not be explained: their lines say why"
    found = lines()
    assert len(found) == 7
    assert "is not an image" in found[2]["error"]
    assert run("--json", "out.jsonl", "--resume").exit_code == 0  # nothing is left to do


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ({"image": "none.png", "question": "Why?"}, "line 7: image none.png does not exist"),
        ({"image": "scene1.png", "question": " "}, "line 7: the question is empty"),
        ({"image": "scene1.png", "question": "Is there a star?", "target": "maybe"}, "line 7: the model does not know the answer 'maybe'"),
        ({"image": "scene1.png", "question": "Is it?", "target": "no", "versus": "no"}, "line 7: target and versus are both 'no'"),
        ({"image": "scene1.png", "question": "Is it?", "versus": "bule"}, "line 7: the model does not know the answer 'bule'"),
        ({"image": "scene1.png"}, "line 7: 'question' is missing"),
        ({"image": 3, "question": "Why?"}, "line 7: 'image' is an integer, not text"),
        ({"image": "scene1.png", "question": "Is there a star?", "traget": "no"}, "line 7: 'traget' is not a field that belongs here"),
        ({"image": "scene1.png", "question": "Is there a star?", "id": "a"}, "line 7 has the id 'a' of pairs.jsonl line 1"),
        ({"image": "scene1.png", "question": "Is there a star?", "target": None}, "line 7: 'target' is null"),
        ([], "line 7 is a list, not an object"),
    ],
)
def test_what_is_no_pair_is_refused_before_the_first_is_explained(run, pair, message) -> None:
    write([*PAIRS, pair])
    refused(run("--json", "out.jsonl"), message)
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "pairs.csv has no column 'image'"),
        ("image,question\n", "pairs.csv holds no pair"),
        ("image,question,image\na,b,c\n", "names a column twice"),
        ("image,question\nscene1.png,What, then?\n", "pairs.csv line 2 has 3 cells, the header 2"),
        ('image,question\nscene1.png,"What\n', "is not CSV"),
        ("image,question,label\nscene1.png,Why?,x\n", "'label' is not a field that belongs here"),
    ],
)
def test_what_is_no_csv_of_pairs(run, content, message) -> None:
    Path("pairs.csv").write_text(content)
    refused(run("--json", "out.jsonl", pairs="pairs.csv"), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say where the lines of --pairs go"),
        (["--json", "-", "scene1.png"], "leave out 'scene1.png'"),
        (["--json", "-", "-o", "a.png"], "leave out -o"),
        (["--json", "-", "--resume"], "--resume needs a file"),
        (["--json", "-", "--solver-report"], "leave out -o and --solver-report"),
    ],
)
def test_wrong_usage(run, arguments, message) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "is for --pairs" in CliRunner().invoke(main, ["explain", "scene1.png", "Why?", "--resume"]).stderr


def test_standard_output_has_the_lines_alone(run) -> None:
    result = run("--json", "-")
    assert [json.loads(line)["pair"] for line in result.stdout.splitlines()] == [1, 2, 3, 4, 5, 6]
    refused(run("--json", "-", pairs="pairs.txt"), "its name must end with .jsonl or .csv")
