"""The demo model's data: scenes whose questions have one right answer, and a known region."""

from __future__ import annotations

import io
import itertools
import json

import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from PIL import Image

from xai.bench.data.scenes import ANSWERS, ASKERS, CATEGORIES, COLORS, KINDS, Scene, Shape, ask, generate_scene, samples
from xai.meter import demo
from xai.meter.demo.training.data import build_scenes, encode_questions, patch_labels, place_labels, region_labels, respell


@pytest.fixture(scope="module")
def asked():
    return list(samples(seed=5, count=700))


def holds(shape: Shape, word: str) -> bool:
    return word in (shape.color, shape.kind)


def named(scene: Scene, text: str) -> list[tuple[str, str]]:
    """(colour, kind) pairs in the text, in order."""
    words = text.replace("?", "").split()
    return [(a, b) for a, b in itertools.pairwise(words) if a in COLORS and b in KINDS]


def test_the_generator_needs_neither_torch_nor_a_hub() -> None:
    import subprocess
    import sys

    code = "import sys, xai.bench.data.scenes as s; list(s.samples(0, 7)); print('torch' in sys.modules, 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False False\n"


def test_a_seed_names_the_scenes(asked) -> None:
    assert list(samples(5, 30)) == asked[:30]
    assert list(samples(6, 30)) != asked[:30]


def test_categories_take_turns_and_answers_are_known(asked) -> None:
    assert [q.category for _, q in asked] == [CATEGORIES[i % len(CATEGORIES)] for i in range(len(asked))]
    assert {q.answer for _, q in asked} <= set(ANSWERS)
    assert len(set(ANSWERS)) == len(ANSWERS)


def test_shapes_lie_inside_and_do_not_overlap(asked) -> None:
    for scene, _ in asked[:100]:
        assert 3 <= len(scene.shapes) <= 6
        masks = [scene.region((i,), 192) for i in range(len(scene.shapes))]
        assert all(mask.any() for mask in masks)
        assert np.sum(masks, axis=0).max() == 1
        for s in scene.shapes:
            assert s.half_width <= s.x <= 1 - s.half_width
            assert s.half_height <= s.y <= 1 - s.half_height


def test_the_region_is_where_the_colour_is(asked) -> None:
    """Drawn and reported regions agree: inside a shape's region lie pixels of its colour."""
    for scene, _ in asked[:50]:
        picture = np.asarray(scene.draw(192)).astype(int)
        for i, shape in enumerate(scene.shapes):
            near = np.abs(picture - COLORS[shape.color]).max(-1) < 8
            region = scene.region((i,), 192)
            assert near[region].mean() > 0.85


def test_answers_follow_from_the_scene(asked) -> None:
    for scene, q in asked:
        shapes = [scene.shapes[i] for i in q.region]
        match q.category:
            case "color":
                assert [s.color for s in shapes] == [q.answer]
                assert sum(holds(s, shapes[0].kind) for s in scene.shapes) == 1
            case "shape":
                assert [s.kind for s in shapes] == [q.answer]
                assert sum(holds(s, shapes[0].color) for s in scene.shapes) == 1
            case "existence":
                assert (q.answer == "yes") is bool(shapes)
                words = [w for w in q.text.replace("?", "").split() if w in COLORS or w in KINDS]
                assert list(q.region) == [i for i, s in enumerate(scene.shapes) if all(holds(s, w) for w in words)]
            case "yes/no":
                assert (q.answer == "yes") is all(w in (shapes[0].color, shapes[0].kind) for w in q.text.rstrip("?").split() if w in COLORS)
            case "position":
                place = {"left": -shapes[0].x, "right": shapes[0].x - 1, "top": -shapes[0].y, "bottom": shapes[0].y - 1}[q.answer]
                assert place > -0.5
            case "relation":
                assert [(s.color, s.kind) for s in shapes] == named(scene, q.text)
                a, b = shapes
                true = {"left": a.x < b.x, "right": a.x > b.x, "above": a.y < b.y, "below": a.y > b.y}
                assert (q.answer == "yes") is next(value for word, value in true.items() if word in q.text.split())
            case "count":
                assert int(q.answer) == len(shapes)


def test_a_question_is_always_found() -> None:
    for i in range(200):
        rng = np.random.default_rng((9, i))
        assert ask(generate_scene(rng, 1, 1), rng).category in ASKERS
    only_kind = Scene((Shape("circle", "red", 0.3, 0.3, 0.1, 0.1), Shape("circle", "red", 0.7, 0.7, 0.1, 0.1)), (255, 255, 255))
    with pytest.raises(ValueError, match="allows no question of color"):
        ask(only_kind, np.random.default_rng(0), ("color",))


def test_labels_name_the_shape_in_each_patch() -> None:
    data = build_scenes(seed=3, count=20, side=96, grid=12)
    for scene, owners in zip(data.scenes, data.owners, strict=True):
        colors, kinds = patch_labels(scene, owners)
        assert ((colors > 0) == (kinds > 0)).all()
        for i, shape in enumerate(scene.shapes):
            mine = owners.ravel() == i
            assert mine.any()
            assert set(colors[mine]) == {1 + list(COLORS).index(shape.color)}
        rng = np.random.default_rng(0)
        q = ask(scene, rng)
        assert set(owners.ravel()[region_labels(q, owners) > 0]) <= set(q.region)
        places = place_labels(q, scene)
        if len(q.region) in (1, 2):
            assert places[0] == pytest.approx(2 * scene.shapes[q.region[0]].x - 1)
        assert np.isnan(places).sum() == (4 - 2 * len(q.region) if len(q.region) <= 2 else 4)


def test_respelling_is_british() -> None:
    texts = {respell("What color is the gray circle?", np.random.default_rng(i)) for i in range(100)}
    assert texts == {f"What {c} is the {g} circle?" for c in ("color", "colour") for g in ("gray", "grey")}


def test_a_photograph_is_remarked_and_a_scene_is_not(asked) -> None:
    for side in (64, 96, 500):
        assert all(demo.remark(scene.draw(side)) is None for scene, _ in asked[:20])
    noise = np.random.default_rng(0).integers(0, 256, (100, 130, 3), np.uint8)
    smooth = np.stack(np.meshgrid(np.arange(256), np.arange(256)), -1)
    photo = np.concatenate([smooth, smooth[..., :1]], -1).astype(np.uint8)
    with get_sample_data("grace_hopper.jpg") as file, Image.open(file) as image:
        portrait = image.convert("RGB")
    for picture in (Image.fromarray(noise), Image.fromarray(photo), portrait, portrait.convert("L").convert("RGB")):
        assert "demo model knows coloured shapes only" in demo.remark(picture)
    blurred = io.BytesIO()
    asked[0][0].draw(300).save(blurred, "JPEG", quality=80)
    assert demo.remark(Image.open(blurred)) is None


def test_the_shipped_tokenizer_knows_every_question(asked) -> None:
    from xai.runtime.inputs.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(demo.TOKENIZER)
    ids, mask = encode_questions(tokenizer, [q.text for _, q in asked])
    assert 3 not in ids  # <unk>
    assert mask.sum(1).max() <= 24
    assert (ids[:, 0] == 0).all()
    assert tokenizer.encode("IS THERE a Red circle?").ids == tokenizer.encode("is there a red circle?").ids
    assert json.loads(demo.ANSWERS.read_text()) == list(ANSWERS)
