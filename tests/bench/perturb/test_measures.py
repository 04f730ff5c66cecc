"""Several measures in one run: each subset answered once, the same bytes however it was run, lines checked, tables."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import xai
from xai.base.errors import XaiError
from xai.bench.data.datasets import load_samples
from xai.bench.data.regions import square_cells
from xai.bench.data.sample import Sample
from xai.bench.measures.contrast import angle_distance, rank_distance
from xai.bench.measures.table import FIRST, MEASURES
from xai.bench.measures.truth import SIZES, Truth, judge_words
from xai.bench.perturb.answering import PreparedQuestion, run_chunk
from xai.bench.perturb.report.markdown import table_markdown
from xai.bench.perturb.report.scores import read_scores
from xai.bench.perturb.report.table import build_table
from xai.bench.perturb.request import Request, table_methods
from xai.bench.perturb.run_folder import RunFolder
from xai.bench.perturb.seal import seal
from xai.cli import main
from xai.models.eager import EagerSession
from xai.runtime.inputs.decode import open_image
from xai.runtime.inputs.question import EncodedQuestion, Token
from xai.runtime.inputs.resize import preprocess
from xai.runtime.sessions.memory import Memory
from xai.tests.bench.measures.models import SAMPLE
from xai.tests.bench.perturb.folders import EVERY, SETTINGS, chunk_lines, question_lines, record
from xai.tests.bench.perturb.test_answering import Counting
from xai.tests.bench.perturb.test_perturb import data_folder, lines_of, outputs_of, refused

pytestmark = pytest.mark.filterwarnings("default:.*left out:UserWarning")  # the command shows it; here it is no failure

ALL = {"measures": list(MEASURES)}
WITH_ALL = SETTINGS | ALL


@pytest.fixture
def run(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data_folder(tiny, tmp_path / "data", copies=2)

    def run(*arguments: object):
        return CliRunner().invoke(main, ["bench", "perturb", "--data", "data", *tiny.cli_options, *map(str, arguments)])

    return run


def prepared_questions(golden) -> list[PreparedQuestion]:
    found = []
    for c, case in enumerate(golden.cases):
        pixels, _ = preprocess(open_image(golden.image(c)), golden.explainer.session.description)
        sample = Sample(str(c), case["image"], case["question"], case["label"], lambda: "")
        question = golden.explainer.encoder.encode(case["question"])
        assert question.ids.tolist() == case["ids"]
        found.append(PreparedQuestion(c, sample, (pixels,), question, np.zeros((6, 6, 4))))
    return found


def test_no_subset_is_answered_twice_and_the_cost_is_what_was_answered(tiny) -> None:
    """By counting the rows that the session ran, and by comparing every subset with every other."""
    session, prepared = Counting(tiny.explainer.session), prepared_questions(tiny)
    asked = Request(table_methods(["all"]), Memory(2**30, 128, 3), len(prepared), measures=tuple(MEASURES))
    measured = run_chunk(session, prepared, asked)
    calls = [(graph, shapes) for graph, shapes in session.calls if graph == "answer"]
    planned = sum(len(one.plan.subsets) - 1 for one in measured)
    assert sum(shapes["image_mask"][0] for _, shapes in calls) == planned
    assert sum(cost.new for one in measured for cost in one.costs.values()) == planned
    tokens = sum(shapes["image_mask"][0] * (shapes["image_mask"][1] + shapes["text_mask"][1]) for _, shapes in calls)
    assert sum(cost.tokens for one in measured for cost in one.costs.values()) == tokens
    for one in measured:
        assert len({(*subset.image, -1, *subset.text) for subset in one.plan.subsets}) == len(one.plan.subsets)
    explained = [shapes["direction"][0] for graph, shapes in session.calls if graph == "evidence"]
    assert sum(explained) == 2 * len(prepared)  # once for each answer of the target contrast


def test_only_a_measure_that_reads_the_second_answer_has_it_explained(tiny) -> None:
    session, prepared = Counting(tiny.explainer.session), prepared_questions(tiny)[:1]
    memory = Memory(2**30, 128, 3)
    for methods, measures, passes in ((["dsmi-grad"], ("synergy", "saco"), 1), (["rollout"], ("contrast",), 1), (["rm"], ("contrast",), 2)):
        session.calls.clear()
        run_chunk(session, prepared, Request(table_methods(methods), memory, 1, measures=(FIRST, *measures)))
        assert sum(graph == "evidence" for graph, _ in session.calls) == passes


def test_killed_resumed_sharded_and_merged_it_gives_the_same_bytes(run, tmp_path) -> None:
    options = ["--methods", "dsmi-grad,rollout", "--measures", "all", "--batch", "3"]
    result = run("-o", "whole", *options)
    assert result.exit_code == 0, result.output
    whole = outputs_of(tmp_path / "whole")
    for part in (1, 4):
        shutil.copytree(tmp_path / "whole", tmp_path / f"cut{part}")
        os.truncate(tmp_path / f"cut{part}" / "results.jsonl", len(whole["results.jsonl"]) * part // 5)
        assert run("-o", f"cut{part}", *options, "--resume").exit_code == 0
        assert outputs_of(tmp_path / f"cut{part}") == whole
    for i in (1, 2):
        assert run("-o", f"shard{i}", *options, "--shard", f"{i}/2").exit_code == 0
    merged = CliRunner().invoke(main, ["bench", "merge", "shard2", "shard1", "-o", "merged"])
    assert merged.exit_code == 0, merged.output
    assert outputs_of(tmp_path / "merged") == whole
    refused(run("-o", "whole", "--methods", "dsmi-grad,rollout", "--batch", "3", "--resume"), "with measures")
    fewer = ["--measures", "synergy", "--batch", "3", "--methods", "dsmi-grad,rollout"]
    refused(run("-o", "whole", *fewer, "--resume"), "with measures")


def test_the_published_lines_are_those_of_a_run_without_more(run, tmp_path) -> None:
    """But for the last digit of a probability: other batches are summed in another order."""
    for folder, measures in (("few", "published"), ("many", "all")):
        assert run("-o", folder, "--methods", "grad-cam", "--measures", measures).exit_code == 0
    few = lines_of(tmp_path / "few")
    many = [line for line in lines_of(tmp_path / "many") if "measure" not in line]
    assert "measures" not in json.loads((tmp_path / "few" / "run.json").read_text())["settings"]
    for one, other in zip(few, many, strict=True):
        assert np.allclose(one["probabilities"], other["probabilities"], atol=2e-6)
        same = ("index", "modality", "sign", "method", "kept", "answers", "accuracies", "pointing", "solver")
        assert [one[name] for name in same] == [other[name] for name in same]


def test_measures_are_asked_for_by_name(run) -> None:
    refused_one = run("-o", "out", "--measures", "synergy,sacco")
    assert refused_one.exit_code != 0
    assert "unknown measure 'sacco'" in refused_one.stderr
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["vilt_tiny", "lxmert_tiny", "visualbert_tiny"])
def test_other_families_are_measured_too(family_goldens, name, tmp_path, monkeypatch) -> None:
    """With questions of one word, and pictures of few patches or boxes."""
    monkeypatch.chdir(tmp_path)
    golden = family_goldens(name)
    Path("data").mkdir()
    Path("boxes").mkdir()
    entries = []
    for c, case in enumerate(golden.cases):
        if "image" in case:
            shutil.copy(golden.folder / f"case{c}.png", "data")
        else:
            few = {key: array[0, : 1 + c] for key, array in golden.picture(c).items()}
            np.savez(f"boxes/case{c}.npz", **few)
        entries.append(json.dumps({"image": f"case{c}.png", "question": case["question"], "label": case["label"]}))
    Path("data/questions.jsonl").write_text("\n".join(entries))
    Path("answers.json").write_text(json.dumps(golden.content["labels"]))
    given = ["--boxes", "boxes"] if any(Path("boxes").iterdir()) else []
    options = ["--model", str(golden.folder), "--answers", "answers.json", *given, "--measures", "all", "--methods", "relevance-maps"]
    result = CliRunner().invoke(main, ["bench", "perturb", "--data", "data", *options, "-o", "out"])
    assert result.exit_code == 0, result.output
    lines = lines_of(Path("out"))
    for c, case in enumerate(golden.cases):
        own = {(line["measure"], line.get("method")): line for line in lines if line["image"] == f"case{c}.png" and "measure" in line}
        assert set(own) == {
            ("prior", None),
            ("cost", None),
            *((m, r) for m in ("synergy", "saco", "contrast", "truth") for r in ("relevance-maps", "random")),
        }
        one_word = len(case["ids"]) == 3
        assert (own["saco", "random"]["groups"]["text"] is None) == one_word
        assert (own["contrast", "random"]["distances"]["text"] is None) == one_word
        assert (own["truth", "random"]["region"], own["truth", "random"]["words"]) == (None, {})
        assert (own["truth", "relevance-maps"]["between"], own["truth", "random"]["between"]) == ("relevance", "affinity")
        assert (own["contrast", "relevance-maps"]["target"], own["contrast", "random"]["target"]) == (True, False)
    assert sum(len(case["ids"]) == 3 for case in golden.cases)


def test_truth_is_held_against_the_maps_that_explain_gives(tmp_path, monkeypatch) -> None:
    """On generated scenes: hit and mass as in the lines of the published test, words as `Explainer.explain` has them."""
    monkeypatch.chdir(tmp_path)
    arguments = ["--samples", "6", "--methods", "relevance-maps,rollout", "--measures", "truth", "-o", "out"]
    result = CliRunner().invoke(main, ["bench", "perturb", *arguments])
    assert result.exit_code == 0, result.output
    lines, explainer = lines_of(Path("out")), xai.load()
    samples = {sample.question_id: sample for sample in load_samples("scenes", 6)}
    cells = square_cells(explainer.session.description.grid, explainer.session.description.grid)
    for method in ("relevance-maps", "rollout"):
        own = [line for line in lines if line.get("method") == method]
        pointing = {line["index"]: line["pointing"] for line in own if line.get("modality") == "image" and line["sign"] == "positive"}
        for line in (line for line in own if line.get("measure") == "truth"):
            assert {"hit": line["region"]["hit"], "energy": line["region"]["mass"]} == pointing[line["index"]]
            sample = samples[line["question_id"]]
            explanation = explainer.explain(sample.picture(), sample.question, method, word_regions=True)
            expected = judge_words(explanation.word_regions, sample.words(cells))
            assert set(line["words"]) == {str(word) for word in expected} != set()
            for word, truth in expected.items():
                assert line["words"][str(word)]["hit"] == truth.hit
                assert line["words"][str(word)]["mass"] == pytest.approx(truth.mass, abs=1e-4)
                assert line["words"][str(word)]["rank"] == pytest.approx(truth.rank, abs=1e-4)
            assert line["between"] == explanation.word_regions_kind
    table = json.loads(Path("out/table.json").read_text())["measures"]["truth"]
    assert table["groups"] == [[f"{size} {name}".strip() for name in Truth._fields] for size in ("", *SIZES, "word")]
    right = [line for line in lines if line.get("measure") == "truth" and line["method"] == "rollout" and line["right"]]
    row = next(row for row in table["rows"] if row["method"] == "rollout")
    assert row["values"]["rank"]["mean"] == pytest.approx(np.mean([line["region"]["rank"] for line in right]), abs=1e-4)


def test_a_method_that_explains_the_sum_of_all_scores_has_no_target(family_goldens) -> None:
    """As published, LXMERT's spectral methods explain the same whatever the answer; by themselves they do not."""
    golden = family_goldens("lxmert_tiny")
    session = EagerSession(golden.family)
    tokens = tuple(Token(number, "", "") for number in golden.cases[0]["ids"])
    features, boxes = (array[0] for array in golden.picture(0).values())
    asked = PreparedQuestion(0, SAMPLE, (features, boxes), EncodedQuestion("", tokens, ()), boxes.astype(float))
    for as_published in (True, False):
        request = Request(
            table_methods(["dsmi-grad", "grad-cam"]), Memory(2**30, 128, 3), 1, as_published=as_published, measures=("contrast",)
        )
        (measured,) = run_chunk(session, [asked], request)
        assert measured.explained.follows_answer == (not as_published, True, False)
        pairs = zip(measured.explained.maps.image, measured.explained.runner_up.image, strict=True)
        assert [np.array_equal(*pair) for pair in pairs] == [as_published, False, True]


def test_the_contrast_is_that_of_the_maps_of_the_first_two_answers(tmp_path, monkeypatch) -> None:
    """As `Explainer.explain` gives them, the answers named."""
    monkeypatch.chdir(tmp_path)
    arguments = ["--samples", "3", "--methods", "dsmi-grad,grad-cam", "--measures", "contrast", "-o", "out"]
    result = CliRunner().invoke(main, ["bench", "perturb", *arguments])
    assert result.exit_code == 0, result.output
    explainer = xai.load()
    samples = {sample.question_id: sample for sample in load_samples("scenes", 3)}
    lines = [line for line in lines_of(Path("out")) if line.get("measure") == "contrast" and line["method"] != "random"]
    assert len(lines) == 6
    for line in lines:
        sample = samples[line["question_id"]]
        question = sample.picture(), sample.question
        first, second = explainer.answer(*question).top[:2]
        one, other = (explainer.explain(*question, line["method"], target=answer.text) for answer in (first, second))
        a, b = one.image_relevance.ravel(), other.image_relevance.ravel()
        assert line["distances"]["image"]["spearman"] == pytest.approx(rank_distance(a, b), abs=0.01)
        assert line["distances"]["image"]["cosine"] == pytest.approx(angle_distance(a, b), abs=1e-4)
    assert any(line["distances"]["image"]["spearman"] > 0.1 for line in lines)


def write(path: Path, change=None) -> RunFolder:
    """A whole run with all measures, one line of question 0 changed."""
    folder, asked = RunFolder(path), record(**ALL)
    with folder.writing(asked, resume=False):
        for chunk in EVERY:
            lines = chunk_lines(chunk, WITH_ALL)
            if change and chunk.start == 0:
                change({(line["measure"], line.get("method")): line for line in lines if line["index"] == 0 and "measure" in line})
            folder.append(lines, asked)
    return folder


def test_lines_of_all_measures_are_read_again(tmp_path) -> None:
    folder = write(tmp_path / "run")
    assert [line for question in folder.read_questions() for line in question.lines] == [
        line for index in range(7) for line in question_lines(index, WITH_ALL)
    ]
    assert json.loads(folder.run.read_text())["settings"]["measures"] == list(MEASURES)


def setting(measure: str, method: str | None, *path: object, to: object):
    """A change of one value of one line."""

    def change(lines) -> None:
        at = lines[measure, method]
        for name in path[:-1]:
            at = at[name]
        if to is ...:
            del at[path[-1]]
        else:
            at[path[-1]] = to

    return change


WRONG = {
    "'insertion' does not begin with 0": setting("synergy", "dsmi", "insertion", 0, to=0.5),
    "'deletion' does not end as 'insertion' does": setting("synergy", "random", "deletion", 10, to=-1.0),
    "'insertion' has not 11 values": setting("synergy", "dsmi", "insertion", to=[0.0] * 10),
    "'deletion' holds a number that is not within -2 and 2": setting("synergy", "dsmi", "deletion", 3, to=2.5),
    "'nothing' is 1.5, not within 0 and 1": setting("synergy", "dsmi", "nothing", to=1.5),
    "does not belong to the question of the lines before": setting("synergy", "dsmi", "whole", to=0.0),
    "'groups': 'image': 'sums' does not fall": setting("saco", "dsmi", "groups", "image", "sums", 9, to=99.0),
    "'sums' has not 2 to 10 values": setting("saco", "dsmi", "groups", "image", "sums", to=[1.0]),
    "'drops' has not 10 values": setting("saco", "dsmi", "groups", "image", "drops", to=[1.0]),
    "'groups': 'text' is missing": setting("saco", "dsmi", "groups", "text", to=...),
    "'groups': 'sound' is not a field that belongs here": setting("saco", "dsmi", "groups", "sound", to=None),
    "'cosine' is 2.1, not within 0 and 2": setting("contrast", "dsmi", "distances", "image", "cosine", to=2.1),
    "'spearman' is .*, not within 0 and 0": setting("contrast", "dsmi", "target", to=False),
    "'target' is an integer, not true or false": setting("contrast", "dsmi", "target", to=1),
    "'right' is an integer, not true or false": setting("truth", "dsmi", "right", to=1),
    "'size' is 2, not within 0 and 1": setting("truth", "dsmi", "size", to=2),
    "'size' is of a region that is not there": setting("truth", "dsmi", "region", to=None),
    "'between' is 'x', none of": setting("truth", "dsmi", "between", to="x"),
    "'region': 'mass' is 1.5, not within": setting("truth", "random", "region", "mass", to=1.5),
    "'words': '1': 'rank' is missing": setting("truth", "random", "words", "1", to={"hit": True, "mass": 0.5}),
    "'words': '-1' is not the place of a word": setting("truth", "random", "words", "-1", to={}),
    "'no_text' is missing": setting("prior", None, "no_text", to=...),
    "'no_image' is -1, not within 0 and 1": setting("prior", None, "no_image", to=-1),
    "'subsets': 'saco' is missing": setting("cost", None, "subsets", "saco", to=...),
    "'synergy': 'new' is out of range, not within 0 and 12": setting("cost", None, "subsets", "synergy", "new", to=13),
    "'method' is 'x' where 'dsmi' must come": setting("synergy", "dsmi", "method", to="x"),
    "'measure' is 'saco' where 'synergy' must come": setting("synergy", "dsmi", "measure", to="saco"),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_line_that_is_not_what_its_measure_writes_is_refused(tmp_path, message) -> None:
    folder = write(tmp_path / "run", WRONG[message])
    with pytest.raises(XaiError, match=message) as caught:
        list(folder.read_questions())
    assert "go on with --resume" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("measures", [["published"], ["synergy"], ["published", "sacco"], ["saco", "published"], "all", ["published"] * 2])
def test_run_json_names_measures_as_the_table_has_them(tmp_path, measures) -> None:
    folder = write(tmp_path / "run")
    content = json.loads(folder.run.read_text())
    content["settings"]["measures"] = measures
    folder.run.write_text(json.dumps(seal({name: value for name, value in content.items() if name != "check"})))
    with pytest.raises(XaiError, match="'measures' is"):
        folder.read_record()


def made_table(questions: int = 30) -> dict:
    """`dsmi` is ahead of `random` in whatever is asked."""
    found = []
    for q in range(questions):
        lines = [line | {"index": q, "image": str(q)} for line in question_lines(0, WITH_ALL)]
        for line in lines:
            good = line.get("method") == "dsmi"
            if line.get("measure") == "synergy":
                curve = [0.0, *[0.8 if good else 0.1 * (q % 3)] * 9, 0.8]
                line |= {"whole": 0.9, "nothing": 0.1, "insertion": curve, "deletion": curve}
            if line.get("measure") == "saco":
                drops = list(range(10, 0, -1)) if good else [(7 * i + q) % 10 for i in range(10)]
                line["groups"] = {"image": {"sums": [10.0 - i for i in range(10)], "drops": [d / 20 for d in drops]}, "text": None}
            if line.get("measure") == "contrast" and not good:
                line |= {"target": False, "distances": {"image": {"spearman": 0.0, "cosine": 0.0}, "text": None}}
        found.append(lines)
    return build_table(read_scores(found, WITH_ALL), WITH_ALL)


def test_the_tables_by_hand() -> None:
    table = made_table()
    synergy, saco, contrast, prior = (table["measures"][name] for name in ("synergy", "saco", "contrast", "prior"))
    assert synergy["rows"][0]["values"]["raw"] == {"mean": 0.76, "low": 0.76, "high": 0.76}  # 0.95 * 0.8
    assert synergy["rows"][0]["values"]["normalised"]["mean"] == 0.95
    assert saco["rows"][0]["values"]["image"]["mean"] == 1
    assert saco["rows"][0]["values"]["text"] == {"mean": None, "low": None, "high": None}
    assert [row["mark"] for row in contrast["rows"]] == [None, "depends on no answer: 0 by its nature"]
    assert [row["method"] for row in prior["rows"]] == ["prior"]
    assert (prior["tests"], prior["power"]) == ({}, {})
    (test,) = synergy["tests"]["raw"]
    assert test["methods"] == ["dsmi", "random"]
    assert test["p"] == 0.0001
    assert test["p_holm"] == pytest.approx(0.0003)  # three columns of one pair
    power = synergy["power"]["raw"]
    assert power["methods"] == ["dsmi", "random"]
    assert 1 <= power["questions"] < 10
    assert saco["power"]["text"] is None
    assert table["subsets"]["published"] == {"asked": 12, "new": 9, "tokens": 99}
    text = table_markdown(table)
    assert "| dsmi | 0.760 [0.760, 0.760] | 0.950" in text
    assert "| method (30 questions) | raw ↑ |" in text
    assert "| random * | 0.000" in text
    assert synergy["known"] == {"raw": 30, "normalised": 30, "unclipped": 30}
    assert saco["known"] == {"image": 30, "text": 0}
    assert table["measures"]["truth"]["marked"] == ["word hit", "word mass", "word rank"]
    assert "| random * | 1.000 [1.000, 1.000]" in text  # of words
    assert "| random | 1.000 [1.000, 1.000]" in text  # of regions
    assert "Starred (random): depends on no answer: 0 by its nature." in text
    assert "- raw: dsmi is best, ahead of every other method. Not shown to beat random: none. About" in text
    assert "Distinct subsets answered per question: published 12, of them new 9," in text


def test_a_run_of_the_published_test_alone_has_its_table_alone() -> None:
    table = build_table(read_scores([question_lines(0)], SETTINGS), SETTINGS)
    assert not {"measures", "subsets"} & set(table)
    assert set(table["power"]) == set(table["tests"])
