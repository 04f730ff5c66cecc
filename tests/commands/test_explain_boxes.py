"""`xai explain` with box features: LXMERT against its golden cases in every session, the ways to give boxes, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import xai
from xai.base.errors import BadInput, XaiError
from xai.cli import main
from xai.runtime.bundle.manifest import Bundle
from xai.runtime.explanation import to_json
from xai.runtime.inputs.boxes import BoxFeatures
from xai.runtime.methods import METHODS
from xai.runtime.show.save import save
from xai.runtime.show.scale import notes
from xai.tests.families import DATA, FamilyGolden, error
from xai.tests.runtime.inputs.test_boxes import row
from xai.tests.runtime.test_schema import refusals

LXMERT = DATA / "lxmert_tiny"
GAP = 1e-3
KEYS = {
    "dsmi-grad": "dsm_grad@top",
    "dsmi-grad-attn": "dsm_grad_cam@boxes+top",
    "transformer-attribution": "transformer_attr_no_lrp",
    "transformer-attribution-lrp": "transformer_att@float64",
    "partial-lrp": "partial_lrp@float64",
}
"""What is called otherwise in the golden file."""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments])


def explain(*arguments: str) -> dict[str, Any]:
    found = invoke(*arguments, "--json", "-")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def answers(family_goldens: Callable[[str], FamilyGolden], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("answers") / "answers.json"
    path.write_text(json.dumps(json.loads((LXMERT / "cases.json").read_text())["labels"]))
    return path


@pytest.fixture(scope="module")
def bundle(family_bundles: Callable[[str], Bundle]) -> Path:
    """LXMERT exported by the command, in both formats."""
    return family_bundles("lxmert_tiny").folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "case2.png"
    Image.new("RGB", (64, 48), (90, 120, 200)).save(path)
    return path


def compare(golden: FamilyGolden, c: int, found: dict[str, Any]) -> int:
    """How many relevances of a case were compared with the golden ones."""
    case, compared = golden.cases[c], 0
    assert found["answer"]["text"] == case["answer"]
    assert found["token_ids"] == case["ids"]
    assert refusals("explanation", found) == []
    assert error(np.array(found["boxes"]), golden.picture(c)["boxes"][0]) < 1e-6
    assert abs(found["answer"]["logit"] - golden.expected[f"{c}/logits"].max()) < 1e-4
    for one in found["explanations"]:
        if one["method"] == "random":
            continue
        assert one["layers"] in (None, "all")  # as published for LXMERT
        key = KEYS.get(one["method"], METHODS[one["method"]].reference_name)
        for stream in ("text", "image"):
            gaps = [report["gap"] for report in one["solver"] if report["graph"].startswith(stream)]
            wanted = golden.expected.get(f"{c}/{key}/{stream}")
            if wanted is None or any(gap is None or gap < GAP for gap in gaps):
                continue
            assert error(np.array(one[f"{stream}_relevance"]), wanted) < 1e-4 or not wanted.any(), (c, one["method"], stream)
            compared += 1
    return compared


@pytest.mark.parametrize("session", ["eager", "onnx", "torchscript"])
def test_the_golden_cases_in_every_session(family_goldens, answers: Path, bundle: Path, photo: Path, session: str) -> None:
    golden: FamilyGolden = family_goldens("lxmert_tiny")
    options = ["--model", str(LXMERT), "--answers", str(answers)] if session == "eager" else ["--model", str(bundle), "--trust"]
    for c, case in enumerate(golden.cases):
        features = str(LXMERT / f"case{c}.npz")
        found = explain(str(photo), case["question"], "--boxes", features, "--session", session, "-m", "all", *options)
        assert found["session"] == session and found["image_size"] == [64, 48]
        assert compare(golden, c, found) >= 12


def test_a_bundle_is_described_and_verified(bundle: Path) -> None:
    told = CliRunner().invoke(main, ["inspect", str(bundle)])
    assert told.exit_code == 0 and "lxmert: boxes with 32 features; up to 32 text tokens" in told.output
    for options in ([], ["--trust"], ["--reference", str(LXMERT)]):
        done = CliRunner().invoke(main, ["verify", str(bundle), *options])
        assert done.exit_code == 0, done.output
    other = CliRunner().invoke(main, ["verify", str(bundle), "--reference", str(DATA / "vilt_tiny")])
    assert other.exit_code == 1 and "another model than that of the bundle" in other.output


def without_times(found: dict[str, Any], *more: str) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in ("timings_ms", *more)}


def test_every_way_to_give_boxes_says_the_same(photo: Path, tmp_path: Path) -> None:
    """Beside a picture: an npz, a TSV, a folder. In its place: an npz, a row of a TSV, one of several."""
    with np.load(LXMERT / "case2.npz") as arrays:
        found = BoxFeatures(arrays["features"], arrays["boxes"])
    pixels = np.array([640, 427, 640, 427], np.float32)
    shares = BoxFeatures(found.features, found.boxes * pixels / pixels)  # as a TSV holds them
    np.savez(tmp_path / "one.npz", **shares._asdict())
    folder = tmp_path / "boxes"
    folder.mkdir()
    shutil.copy(tmp_path / "one.npz", folder / "case2.npz")
    (tmp_path / "many.tsv").write_bytes(row("other", shares._replace(features=shares.features + 1)) + row("case2", shares))
    (tmp_path / "single.tsv").write_bytes(row("case2", shares))
    model = ["t44 t9 t71 t26", "--model", str(LXMERT)]
    wanted = explain(str(photo), *model, "--boxes", str(tmp_path / "one.npz"))
    for boxes in (folder, tmp_path / "many.tsv", f"{tmp_path / 'many.tsv'}:case2"):
        assert without_times(explain(str(photo), *model, "--boxes", str(boxes))) == without_times(wanted)
    alone = [explain(str(name), *model) for name in (tmp_path / "one.npz", tmp_path / "single.tsv", f"{tmp_path / 'many.tsv'}:case2")]
    assert [one["image_size"] for one in alone] == [[640, 640], [640, 427], [640, 427]]
    for one in alone:
        assert one["boxes"] == wanted["boxes"]
        (mine,), (theirs,) = one["explanations"], wanted["explanations"]
        assert mine["image_relevance"] == theirs["image_relevance"]
        assert any(note.startswith("no picture was given") for note in mine["notes"])


def test_python_takes_boxes_as_arrays_files_and_lists(photo: Path) -> None:
    explainer = xai.load(LXMERT)
    with np.load(LXMERT / "case2.npz") as arrays:
        features, boxes = arrays["features"], arrays["boxes"]
    question = "t44 t9 t71 t26"
    wanted = explainer.explain(photo, question, boxes=LXMERT / "case2.npz")
    assert wanted.boxes is not None and wanted.image_relevance.shape == (16,)
    assert explainer.explain(photo, question, boxes=(features, boxes)) == wanted
    assert explainer.explain(explainer.prepare(photo, BoxFeatures(features, boxes)), question) == wanted
    other = str(LXMERT / "case5.npz")
    batch = explainer.explain_batch([(photo, question), (photo, "t66 t24")], boxes=[(features, boxes), other])
    assert [len(each[0].image_relevance) for each in batch] == [16, 12]
    assert error(batch[0][0].image_relevance, wanted.image_relevance) < 1e-5
    with pytest.raises(BadInput, match="1 boxes are given for 2 pairs"):
        explainer.explain_batch([(photo, question)] * 2, boxes=[other])
    whole = explainer.answer(photo, question, boxes=(features, boxes))
    assert whole.answer == wanted.answer and whole.grid is None
    assert len(whole.to_json()["boxes"]) == 16 and "grid" not in whole.to_json()
    left = explainer.answer(photo, question, boxes=(features, boxes), without_patches=np.arange(16) < 4)
    fewer = explainer.explain(photo, question, boxes=(features[4:], boxes[4:]))
    assert left.without_patches == (0, 1, 2, 3)
    assert abs(left.answer.logit - fewer.answer.logit) < 1e-4


@pytest.mark.parametrize("session", ["eager", "onnx", "torchscript"])
def test_no_box_at_all_is_explained_and_drawn(bundle: Path, photo: Path, tmp_path: Path, session: str) -> None:
    """The answer is that of the golden perturbation that takes every box away; also beside a picture that has some."""
    features = tmp_path / "none.npz"
    np.savez(features, features=np.zeros((0, 32), np.float32), boxes=np.zeros((0, 4), np.float32))
    model = xai.load(LXMERT) if session == "eager" else xai.load(bundle, session=session, trust=True)
    with np.load(LXMERT / "expected.npz") as expected:
        wanted = expected["3/rm/perturb/image/positive/logits"][-1]
    question = json.loads((LXMERT / "cases.json").read_text())["cases"][3]["question"]
    pairs = [(photo, question)] * 2
    by_method, _ = model.explain_batch(pairs, "all", boxes=[features, LXMERT / "case3.npz"], word_regions=True)
    for one in by_method:
        assert one.image_relevance.shape == (0,)
        assert one.word_regions is not None and one.word_regions.shape == (len(one.question.words), 0)
        assert abs(one.answer.logit - wanted.max()) < 1e-4 and one.answer.id == wanted.argmax()
    assert refusals("explanation", to_json(by_method)) == []
    for suffix in ("png", "svg", "pdf", "html", "csv", "json", "npz"):
        file = tmp_path / f"why.{suffix}"
        save(by_method, file)
        assert file.stat().st_size > 100
    assert "there is no box" in by_method[0]._repr_html_()


def test_files_say_boxes_in_place_of_a_grid(photo: Path, tmp_path: Path) -> None:
    features = str(LXMERT / "case2.npz")
    names = ["why.csv", "why.npz", "why.json", "why.png", "why.html", "why.svg", "why.pdf"]
    outputs = [part for name in names for part in ("-o", str(tmp_path / name))]
    done = invoke(str(photo), "t44 t9", "--boxes", features, "--model", str(LXMERT), "-m", "dsmi", "-m", "rollout", *outputs)
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "why.json").read_text())
    assert "grid" not in content and len(content["boxes"]) == 16
    with np.load(tmp_path / "why.npz") as arrays:
        assert arrays["image_relevance"].shape == (2, 16)
        assert arrays["boxes"].tolist() == content["boxes"]
        assert not {"grid", "boxes"} & set(json.loads(str(arrays["json"])))
    rows = list(csv.DictReader((tmp_path / "why.csv").read_text().splitlines()))
    boxes = [line for line in rows if line["kind"] == "box"]
    assert [[float(line[name]) for name in ("x0", "y0", "x1", "y1")] for line in boxes] == content["boxes"]
    assert [float(line["rollout"]) for line in boxes] == content["explanations"][1]["image_relevance"]
    assert [line["text"] for line in rows[16:]] == ["t44", "t9"]


def test_words_and_boxes(photo: Path, tmp_path: Path) -> None:
    features, model = str(LXMERT / "case2.npz"), ("--model", str(LXMERT))
    found = explain(str(photo), "t44 t9", "--boxes", features, *model, "--words", "-m", "all")
    assert refusals("explanation", found) == []
    assert {np.shape(one["word_regions"]) for one in found["explanations"]} == {(2, 16)}
    drawn = invoke(str(photo), "t44 t9", "--boxes", features, *model, "--words", "-m", "relevance-maps", "-o", str(tmp_path / "why.png"))
    assert drawn.exit_code == 0, drawn.output
    shown = invoke(str(photo), "t44 t9", "--boxes", features, *model, "--words", "-m", "relevance-maps").output
    (maps,) = [one["word_regions"] for one in found["explanations"] if one["method"] == "relevance-maps"]
    for word, values in zip(("t44", "t9"), maps, strict=True):
        assert any(word in line and f"box {int(np.argmax(values)) + 1} " in line for line in shown.splitlines())


@pytest.mark.parametrize("options", [{}, {"as_published": True}, {"target": 3, "versus": 4}])
def test_boxes_and_words_left_out_are_those_of_answer(photo: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """LXMERT numbers the words that stay anew."""
    explainer, features = xai.load(LXMERT), LXMERT / "case2.npz"
    question, left = "t44 t9 t71 t26", {"without_patches": np.arange(16) < 4, "without_words": np.arange(4) == 1}
    found = explainer.explain_methods(photo, question, "all", boxes=features, word_regions=True, **left, **options)
    wanted, before = (explainer.answer(photo, question, boxes=features, **these).answer for these in (left, {}))
    alone = explainer.explain_methods(photo, "t44 t71 t26", "all", boxes=_fewer(features), word_regions=True, **options)
    for one, other in zip(found, alone, strict=True):
        assert one.answer.id == wanted.id and abs(one.answer.logit - wanted.logit) < 1e-4
        assert one.left_out is not None and one.left_out.before.id == before.id
        assert (one.left_out.words, one.left_out.patches) == ((1,), (0, 1, 2, 3))
        assert one.word_relevance[1] == 0 and not one.image_relevance[:4].any()
        assert one.word_regions is not None and one.word_regions.shape == (4, 16)
        assert not one.word_regions[1].any() and not one.word_regions[:, :4].any()
        assert (one.explains, one.signed) == (other.explains, other.signed)
        if one.method != "random":
            assert error(one.image_relevance[4:], other.image_relevance) < GAP
            assert error(np.delete(one.word_regions[:, 4:], 1, axis=0), other.word_regions) < GAP
    assert refusals("explanation", to_json(found)) == []
    assert any("4 of 16 boxes" in note for note in notes(found[0]))
    save(found, tmp_path / "why.png")


def _fewer(features: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(features) as arrays:
        return arrays["features"][4:], arrays["boxes"][4:]


def test_pairs_bring_their_boxes(photo: Path, tmp_path: Path) -> None:
    shutil.copy(LXMERT / "case2.npz", tmp_path / "a.npz")
    lines = [
        {"image": photo.name, "question": "t44 t9", "boxes": "a.npz"},
        {"image": "a.npz", "question": "t44 t9"},
        {"image": photo.name, "question": "t44 t9"},
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "folder").mkdir()
    shutil.copy(LXMERT / "case5.npz", tmp_path / "folder" / "case2.npz")
    options = ["--pairs", str(pairs), "--model", str(LXMERT), "--json", "-", "--skip-broken"]
    found = [json.loads(line) for line in invoke(*options).stdout.splitlines()]
    assert found[0]["boxes"] == found[1]["boxes"] and len(found[0]["boxes"]) == 16
    assert "takes boxes with features" in found[2]["error"]
    found = [json.loads(line) for line in invoke(*options, "--boxes", str(tmp_path / "folder")).stdout.splitlines()]
    assert len(found[0]["boxes"]) == 16  # its own before those of all
    assert len(found[2]["boxes"]) == 12
    assert "others are given with them" in found[1]["error"]


def test_a_folder_of_pictures_takes_its_boxes_from_a_tsv(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rows = b""
    for c in (0, 5):
        Image.new("RGB", (60, 40)).save(pictures / f"image{c}.png")
        with np.load(LXMERT / f"case{c}.npz") as arrays:
            rows += row(f"image{c}", BoxFeatures(arrays["features"], arrays["boxes"]))
    Image.new("RGB", (60, 40)).save(pictures / "lost.png")
    (tmp_path / "some.tsv").write_bytes(rows)
    done = invoke(str(pictures), "t31", "--boxes", str(tmp_path / "some.tsv"), "--model", str(LXMERT), "--json", "-")
    assert done.exit_code == 1
    assert [len(json.loads(line)["boxes"]) for line in done.stdout.splitlines()] == [16, 12]
    assert "no row of image lost" in done.stderr


def test_what_cannot_be_is_one_line(photo: Path, tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        found = invoke(*arguments)
        assert found.exit_code in (1, 2) and found.output.count("\n") == 1, found.output
        return found.output

    features, model = str(LXMERT / "case2.npz"), ["--model", str(LXMERT)]
    wide = tmp_path / "wide.npz"
    np.savez(wide, features=np.zeros((3, 2048)), boxes=np.zeros((3, 4)))
    assert "features have 2048 numbers a box, the model takes 32" in refused(str(photo), "t5", "--boxes", str(wide), *model)
    assert "takes boxes with features" in refused(str(photo), "t5", *model)
    assert "--without-region is about patches" in refused(str(photo), "t5", "--boxes", features, *model, "--without-region", "0,0,9,9")
    assert "others are given with them" in refused(features, "t5", "--boxes", features, *model)
    assert "looks at a picture's pixels, not at boxes" in refused(str(photo), "circle?", "--boxes", features)
    assert "looks at a picture's pixels, not at boxes" in refused(features, "circle?")
    assert "do not exist" in refused(str(photo), "t5", "--boxes", str(tmp_path / "none.npz"), *model)
    shutil.copy(features, tmp_path / "own.npz")
    before = (tmp_path / "own.npz").read_bytes()
    own = str(tmp_path / "own.npz")
    assert "is one of the images or their boxes" in refused(str(photo), "t5", "--boxes", own, "-o", own, *model)
    assert (tmp_path / "own.npz").read_bytes() == before


def test_a_vocabulary_is_a_tokenizer(family_goldens, tmp_path: Path) -> None:
    """A folder as transformers 4 wrote it has vocab.txt alone."""
    golden: FamilyGolden = family_goldens("lxmert_tiny")
    folder = Path(shutil.copytree(LXMERT, tmp_path / "lxmert"))
    (folder / "tokenizer.json").unlink()
    explainer = xai.load(folder)
    for case in golden.cases:
        assert list(explainer.check(case["question"]).ids) == case["ids"]
    settings = folder / "tokenizer_config.json"
    settings.write_text('{"do_lower_case": false}')
    assert list(xai.load(folder).check("t38 T38").ids) == [2, 38, 1, 3]
    settings.write_text('{"do_lower_case": "yes"}')
    with pytest.raises(XaiError, match="do_lower_case"):
        xai.load(folder)
    settings.unlink()
    (folder / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(XaiError, match="is not a tokenizer"):
        xai.load(folder)


def test_a_server_refuses_a_model_of_boxes() -> None:
    done = CliRunner().invoke(main, ["serve", str(LXMERT), "--port", "0"])
    assert done.exit_code == 1
    assert done.output.splitlines()[-1] == (
        "Error: model lxmert_tiny looks at boxes with features, which no request can bring: explain it with xai explain --boxes"
    )
