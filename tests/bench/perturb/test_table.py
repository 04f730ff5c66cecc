"""The table from hand-made scores."""

from __future__ import annotations

import io
import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xai.base.errors import XaiError
from xai.bench.data.datasets import load_samples
from xai.bench.data.sample import by_image
from xai.bench.perturb.plan import STEPS
from xai.bench.perturb.report.curves import draw_curves
from xai.bench.perturb.report.html import table_page
from xai.bench.perturb.report.markdown import table_markdown
from xai.bench.perturb.report.pages import question_gains
from xai.bench.perturb.report.published import PUBLISHED_QUESTIONS, PUBLISHED_SIDE, published_figures
from xai.bench.perturb.report.scores import AUC_WEIGHTS, PANELS, Scores, panel_name, read_scores
from xai.bench.perturb.report.table import build_table, verdict
from xai.bench.perturb.request import hash_samples

SETTINGS = {
    "data": "scenes",
    "data_sha256": "ab",
    "seed": 1,
    "methods": ["dsmi", "rollout", "random"],
    "modalities": ["image", "text"],
    "signs": ["positive", "negative"],
    "unknown_labels": 0,
}

PUBLISHED = {"data_sha256": PUBLISHED_QUESTIONS, "image_size": PUBLISHED_SIDE}
VALID = Path(__file__).parents[4] / "shared" / "vqa" / "valid.json"


def line(index: int, method: str, panel: tuple[str, str], accuracy: float, **more) -> dict:
    """A question right with nothing removed, and of constant accuracy afterwards."""
    steps = [1.0, *[accuracy] * (len(STEPS) - 1)]
    content = {"accuracies": steps, "probabilities": steps, "exact": None, "pointing": None, "solver": {}}
    return {"index": index, "image": str(index), "method": method, "modality": panel[0], "sign": panel[1], **content, **more}


def lines(n: int, accuracy, settings=SETTINGS) -> list[dict]:
    """`accuracy(question, method, panel)` of every line."""
    wanted = [p for p in PANELS if p[0] in settings["modalities"] and p[1] in settings["signs"]]
    return [line(q, m, p, accuracy(q, m, p)) for q in range(n) for p in wanted for m in settings["methods"]]


def scores_of(found: list[dict], settings) -> Scores:
    return read_scores([list(lines) for _, lines in groupby(found, key=lambda line: line["index"])], settings)


def clear(question: int, method: str, panel: tuple[str, str]) -> float:
    """`dsmi` is always right about what matters, the others are half right."""
    ideal = 0.0 if panel[1] == "positive" else 1.0
    return ideal if method == "dsmi" else float((question + (method == "random")) % 2)


def test_the_weights_are_those_of_the_trapezoid_rule() -> None:
    assert np.allclose(AUC_WEIGHTS, [0.125, 0.25, 0.25, 0.15, 0.05, 0.05, 0.05, 0.05, 0.025])


def test_auc_by_hand() -> None:
    table = build_table(scores_of(lines(4, clear), SETTINGS), SETTINGS)
    first = table["methods"][0]
    assert first["published"] is None  # these are other questions
    assert first["auc"]["image+"] == {"mean": 12.5, "low": 12.5, "high": 12.5}
    assert first["auc"]["text-"]["mean"] == 100
    assert first["area_between"]["image"]["mean"] == 87.5
    assert table["methods"][1]["auc"]["image+"]["mean"] == pytest.approx(12.5 + 87.5 / 2)
    assert first["curves"]["image+"] == [100, *[0] * 8]
    assert table["accuracy"]["mean"] == 100
    assert first["pointing"] == {"mean": None, "low": None, "high": None}


def test_a_clear_winner_is_named_and_a_draw_is_one() -> None:
    table = build_table(scores_of(lines(40, clear), SETTINGS), SETTINGS)
    for panel in ("image+", "image-", "text+", "text-"):
        found = verdict(table, panel)
        assert found.best == "dsmi"
        assert found.tied == ()
        assert found.no_better == ("rollout",)
    text = table_markdown(table)
    assert "- image+: dsmi is best, ahead of every other method. Not shown to beat random: rollout." in text
    same = build_table(scores_of(lines(40, lambda q, *_: q % 2), SETTINGS), SETTINGS)
    assert set(verdict(same, "image+").tied) == {"rollout", "random"}
    assert "no method" in table_markdown(build_table(scores_of(lines(40, lambda _q, m, _p: float(m == "random")), SETTINGS), SETTINGS))


def test_further_measures_and_what_was_left_out() -> None:
    found = lines(2, clear)
    exact = found[0] | {"accuracies": [1.0] * 9}
    found[0] |= {"exact": exact, "pointing": {"hit": True, "energy": 0.25}, "solver": {"image0": "degenerate"}}
    found.append({"index": 2, "image": "x", "skipped": "x.png does not exist"})
    table = build_table(scores_of(found, SETTINGS), SETTINGS | {"unknown_labels": 1})
    first = table["methods"][0]
    assert first["exact_rounding"]["image+"] == pytest.approx((100 + 12.5) / 2)
    assert first["pointing"]["mean"] == 100
    assert first["energy"]["mean"] == 25
    assert (table["regions"], table["skipped"], table["questions"]) == (1, 1, 2)
    text = table_markdown(table)
    for words in ("1 questions could not be used", "1 questions have no true answer", "dsmi: degenerate (1)"):
        assert words in text
    with pytest.raises(XaiError, match="no question of the run could be used"):
        scores_of(found[-1:], SETTINGS)


@pytest.mark.parametrize("signs", [["positive"], ["positive", "negative"]])
@pytest.mark.parametrize("modalities", [["text"], ["image", "text"]])
@pytest.mark.parametrize("methods", [["random"], SETTINGS["methods"]])
def test_part_of_the_table_is_drawn_too(signs, modalities, methods) -> None:
    settings = SETTINGS | {"signs": signs, "modalities": modalities, "methods": methods}
    table = build_table(scores_of(lines(5, clear, settings), settings), settings)
    picture = draw_curves(table)
    with Image.open(io.BytesIO(picture)) as image:
        assert min(image.size) > 300
    assert "random" in table_markdown(table)
    assert ("is best" in table_markdown(table)) == (len(methods) > 1)
    page = table_page(table, {"python": "3"}, browsable=False)
    assert '<th scope="row">random</th>' in page
    assert ("is best" in page) == (len(methods) > 1)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)


def test_names_in_the_page_are_escaped() -> None:
    settings = SETTINGS | {"data": "<x-data>"}
    table = build_table(scores_of(lines(3, clear), settings), settings)
    page = table_page(table, {"python": "<x-python>"}, browsable=True)
    for name in ("data", "python"):
        assert f"<x-{name}>" not in page
        assert f"&lt;x-{name}&gt;" in page


def test_a_gain_is_what_lasts_less_what_is_lost() -> None:
    scores = scores_of(lines(4, clear), SETTINGS)
    assert question_gains(scores).shape == (4,)
    for question, gain in enumerate(question_gains(scores)):
        areas = scores.auc["accuracy"][question, :2]  # without the floor
        assert gain == pytest.approx((areas[:, 1] - areas[:, 0] + areas[:, 3] - areas[:, 2]).mean() / 4)


def test_the_published_table_has_every_method_of_the_paper() -> None:
    from xai.runtime.methods import AS_PUBLISHED

    figures = published_figures(PUBLISHED)
    assert set(figures.areas) == set(AS_PUBLISHED) - {"random"}
    table = build_table(scores_of(lines(4, clear), SETTINGS), SETTINGS | PUBLISHED)
    assert table["methods"][0]["published"] == {"image+": 60.07, "image-": 79.47, "text+": 45.14, "text-": 48.05}
    assert table["methods"][2]["published"] is None


@pytest.mark.parametrize("other", [{"data_sha256": "ab"}, {"image_size": 384}, {"family": "vilt"}, {"family": "visual_bert"}])
def test_figures_stand_beside_the_published_model_and_questions_alone(other) -> None:
    assert published_figures(PUBLISHED) is not None
    assert published_figures(PUBLISHED | other) is None


def test_the_published_questions_are_known_by_their_hash(tmp_path) -> None:
    if not VALID.is_file():
        pytest.skip(f"the published questions are not at {VALID}")
    (tmp_path / "valid.json").write_bytes(VALID.read_bytes())
    assert hash_samples(by_image(load_samples(str(tmp_path)))) == PUBLISHED_QUESTIONS
    assert hash_samples(by_image(load_samples(str(tmp_path), 100))) != PUBLISHED_QUESTIONS


def test_the_published_areas_of_lxmert_are_those_of_its_curves() -> None:
    """By the trapezoid rule, to the two digits that were published."""
    figures = published_figures(PUBLISHED | {"family": "lxmert"})
    assert set(figures.areas) == set(figures.curves) and len(figures.areas) == 9
    for name, panels in figures.areas.items():
        assert list(panels) == [panel_name(panel) for panel in PANELS]
        for panel, area in panels.items():
            assert abs(AUC_WEIGHTS @ np.array(figures.curves[name][panel]) - area) < 0.011, (name, panel)


def test_other_families_have_figures_of_their_own_or_none() -> None:
    """Of LXMERT areas and curves, labelled as such; of ViLT nothing was published, and nothing stands beside its numbers."""
    family = {"family": "lxmert", "picture": {"kind": "boxes", "width": 32}}
    scores = scores_of(lines(4, clear), SETTINGS)
    tables = {
        name: build_table(scores, SETTINGS | PUBLISHED | settings) for name, settings in (("lxmert", family), ("vilt", {"family": "vilt"}))
    }
    row = {row["method"]: row for row in tables["lxmert"]["methods"]}["dsmi"]
    assert row["published"] == {"image+": 53.47, "image-": 59.13, "text+": 28.67, "text-": 40.28}
    assert row["published_curves"]["image+"][0] == 66.51
    assert "Published: LXMERT with 36 boxes" in table_markdown(tables["lxmert"])
    assert "published for LXMERT" in table_page(tables["lxmert"], {}, browsable=False)
    assert all(row["published"] is None and "published_curves" not in row for row in tables["vilt"]["methods"])
    assert "ublished" not in table_markdown(tables["vilt"])
    assert "published for" not in table_page(tables["vilt"], {}, browsable=False)
