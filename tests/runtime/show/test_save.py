import base64
import errno
import io
import itertools
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from xai.base.errors import XaiError
from xai.base.text import percent
from xai.runtime.engine import SolverReport
from xai.runtime.explanation import Answer, Explanation, to_json
from xai.runtime.inputs.pixels import Crop
from xai.runtime.inputs.question import EncodedQuestion, Token, Word
from xai.runtime.show.page import html
from xai.runtime.show.save import SUFFIXES, save
from xai.runtime.show.scale import distinct, scaled
from xai.runtime.show.sheet import draw
from xai.runtime.show.theme import heat, ink

NASTY = "Is <b>this</b> & \"that\" 😀 worth $5 or $6_x^2, 日本 \x1b[31m 'end'?"
METHODS = [
    "dsmi",
    "dsmi-grad",
    "dsmi-grad-attn",
    "relevance-maps",
    "transformer-attribution",
    "raw-attention",
    "grad-cam",
    "rollout",
    "random",
]
MARK = (0, 255, 255)


def explanation(
    size: tuple[int, int] = (320, 240),
    text: str = "What stands left of the sun?",
    grid: int = 8,
    hot: tuple[int, int] | None = (2, 5),
    method: str = "dsmi-grad",
    answer: str = "a house",
    name: str = "hill.jpg",
    target: str | None = None,
    notes: tuple[str, ...] = (),
) -> Explanation:
    """One of a grey picture; the patch `hot` is marked in it and the only relevant one (None: all are alike)."""
    short = min(size)
    left, top = (size[0] - short) // 2, (size[1] - short) // 2
    picture = Image.new("RGB", size, (128, 128, 128))
    relevance = np.zeros((grid, grid), np.float32)
    if hot:
        relevance[hot] = 3e-3
        patch = short / grid
        corner = left + hot[1] * patch, top + hot[0] * patch
        picture.paste(MARK, tuple(round(v) for v in (*corner, corner[0] + patch, corner[1] + patch)))
    spelled = text.split(" ")
    tokens = (Token(0, "<s>", "<s>"), *(Token(5 + i, "Ġ" + word, word) for i, word in enumerate(spelled)), Token(2, "</s>", "</s>"))
    first = Answer(3, answer, 4.0, 0.8)
    other = Answer(4, target or "barn", 2.0, 0.1)
    return Explanation(
        image_name=name,
        picture=picture,
        crop=Crop((left, top, left + short, top + short)),
        question=EncodedQuestion(text, tokens, tuple(Word(word, (i + 1,)) for i, word in enumerate(spelled))),
        answer=first,
        target=other if target else first,
        top=(first, other),
        method=method,
        layers="first",
        image_relevance=relevance,
        text_relevance=np.linspace(0, 0.3, len(tokens), dtype=np.float32),
        solver=(SolverReport("image0", grid * grid, 0.02, float("inf"), 1e-12, 1e-9, 1, 1, "converged", "eigh", "spectrum", 0),),
        session="eager",
        precision="float32",
        timings_ms={"decode": 1.5, "total": 1.5},
        notes=notes,
    )


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def centre(mask: np.ndarray) -> np.ndarray:
    """(x, y) of what is true."""
    assert mask.any()
    return np.argwhere(mask).mean(axis=0)[::-1]


class Page(HTMLParser):
    """The text of a page, the attributes of its elements, and whether every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_scaled_runs_from_nought_to_the_highest():
    assert scaled(np.array([[2e-9, 4e-9], [3e-9, 0]])) == pytest.approx(np.array([[0.5, 1], [0.75, 0]]))
    assert scaled(np.array([-1e30, 1e30], np.float32)).tolist() == [0, 1]


@pytest.mark.parametrize("values", [[0, 0], [0.25, 0.25], [1, 1 + 1e-7], [np.nan, 1], [np.inf, 1], [7]])
def test_scaled_of_a_constant_or_not_finite_map_is_zero(values):
    assert not scaled(np.array(values, dtype=np.float64)).any()


def test_labels_differ_where_values_do():
    assert distinct([0.1, 0.2]) == ["0.1", "0.2"]
    assert len(set(distinct([0.12345671, 0.12345672, 0.12345673]))) == 3


def test_probabilities_never_claim_certainty():
    assert [percent(p) for p in (1, 0.9996, 0.873, 0.0006, 1e-9)] == [">99.9%", ">99.9%", "87.3%", "0.1%", "<0.1%"]


def test_text_is_readable_on_every_colour():
    ramp = np.asarray(heat(np.linspace(0, 1, 256)[None].repeat(256, axis=0), 256))[0, :, :3]
    for rgb in ramp:
        linear = ((rgb / 255 + 0.055) / 1.055) ** 2.4 @ (0.2126, 0.7152, 0.0722)
        contrast = (linear + 0.05) / 0.05 if ink(rgb) == "#000000" else 1.05 / (linear + 0.05)
        assert contrast > 4.4


@pytest.mark.parametrize("hot", [(0, 0), (2, 5), (7, 7)])
def test_the_overlay_peaks_in_the_middle_of_its_patch(hot):
    relevance = explanation(hot=hot).image_relevance
    overlay = np.asarray(heat(relevance, 160)).astype(int)
    assert (centre(overlay[..., 3] > 150) // 20).astype(int).tolist() == [hot[1], hot[0]]


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (1000, 120), (20, 20)])
@pytest.mark.parametrize("hot", [(1, 6), (4, 2)])
def test_the_peak_lies_on_the_patch_in_the_rendered_sheet(size, hot):
    """Beside the marked patch of the original, at the same place of the crop."""
    figure = draw([explanation(size=size, hot=hot)])
    sheet = pixels(figure)
    original, overlay, _ = figure.axes
    mark = centre((abs(sheet - MARK) < 8).all(axis=-1))
    glow = (sheet[..., 0] - sheet[..., 2] > 60) & (sheet[..., 0] > 170)
    height = sheet.shape[0]
    places = []
    for axes, place in (original, mark), (overlay, None):
        box = axes.get_window_extent()
        inside = np.zeros(glow.shape, dtype=bool)
        inside[round(height - box.y1) : round(height - box.y0), round(box.x0) : round(box.x1)] = True
        x, y = centre(glow & inside) if place is None else place
        # Independently of the axes' own scale: pixels from the middle of the panel, where the middle of the crop is, in crop sides.
        side = box.height if size[0] >= size[1] else box.width
        places.append([(x - (box.x0 + box.x1) / 2) / side, (y - (height - (box.y0 + box.y1) / 2)) / side])
    assert places[1] == pytest.approx(places[0], abs=0.02)
    assert places[0] == pytest.approx([(hot[1] + 0.5) / 8 - 0.5, (hot[0] + 0.5) / 8 - 0.5], abs=0.02)


def test_what_was_cut_away_is_greyed():
    picture = explanation(size=(400, 200), hot=None)
    picture.picture.paste((255, 0, 0), (0, 0, 400, 200))
    figure = draw([picture])
    sheet = pixels(figure)
    red = sheet[..., 0] - sheet[..., 1] > 200
    box = figure.axes[0].get_window_extent()
    assert red.sum() == pytest.approx(box.width / 2 * box.height, rel=0.05)


@pytest.mark.parametrize("size", [(600, 450), (40, 30)])
def test_the_sheet_is_as_large_for_any_picture_of_that_shape(size):
    assert draw([explanation(size=size)]).get_size_inches() == pytest.approx(draw([explanation()]).get_size_inches())


@pytest.mark.parametrize("methods", [METHODS[:1], METHODS[:2], METHODS])
@pytest.mark.parametrize("text", ["Why?", NASTY, "antidisestablishmentarianism " * 3 + "a longer question than most " * 12 + "x" * 400])
def test_texts_neither_overlap_nor_leave_the_sheet(methods, text, capsys):
    note = "image0: its graph falls into 3 pieces: the map shows their sizes, not a cut within one"
    notes = [(note,) if i % 2 else () for i in range(len(methods))]
    several = [
        explanation(text=text, answer="an answer " * 30, target="another", method=method, notes=said, name="/folder" * 60 + "/x.png")
        for method, said in zip(methods, notes, strict=True)
    ]
    figure = draw(several)
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    panels = [axes.get_window_extent() for axes in figure.axes]
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    for one, other in itertools.chain(itertools.combinations(boxes, 2), itertools.product(boxes, panels)):
        across, down = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across < 1 or down < 1
    assert capsys.readouterr().err == ""


def test_a_constant_map_is_said_to_be_constant():
    for shown in draw([explanation(hot=None)]).texts, Page(html([explanation(hot=None)])).texts:
        assert any("constant" in (text if isinstance(text, str) else text.get_text()) for text in shown)


def test_a_comparison_says_that_maps_are_scaled_by_themselves():
    figure = draw([explanation(method=method) for method in METHODS])
    texts = [text.get_text() for text in figure.texts]
    assert any("scaled by itself" in text for text in texts)
    assert all(method in texts for method in METHODS)
    assert texts.count("What") == len(METHODS)


def test_a_page_escapes_what_it_is_given():
    page = html([explanation(text=NASTY, answer="<script>alert(1)</script>", target='"><img src=x>', name="a\"b'<i>.png", method="<m>")])
    parsed = Page(page)
    assert not parsed.open
    assert [tag for tag, _ in parsed.elements].count("script") == 1
    assert not {"b", "i", "m"} & {tag for tag, _ in parsed.elements}
    assert NASTY.replace("\x1b", "") in parsed.texts
    assert "<script>alert(1)</script>" in parsed.texts


def test_a_page_needs_no_other_file():
    page = html([explanation(method=method) for method in METHODS])
    assert "http:" not in page and "https:" not in page
    for tag, attributes in Page(page).elements:
        assert tag not in ("link", "iframe")
        assert "href" not in attributes
        assert (attributes.get("src") or "data:image/").startswith("data:image/")


def test_a_page_shows_the_first_method_until_a_script_runs():
    parsed = Page(html([explanation(method=method) for method in METHODS]))
    marked = [attributes for _, attributes in parsed.elements if "data-method" in attributes]
    assert len(marked) == 3 * len(METHODS)  # overlay, colour bar, section
    assert all(("hidden" in attributes) == (attributes["data-method"] != "0") for attributes in marked)
    assert all(attributes["alt"] for tag, attributes in parsed.elements if tag == "img")


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (1000, 120)])
def test_the_overlay_of_a_page_lies_on_the_crop(size):
    page = html([explanation(size=size, hot=(1, 6))])
    picture, overlay = (Image.open(io.BytesIO(base64.b64decode(code))) for code in re.findall(r"data:image/\w+;base64,([\w+/=]+)", page))
    placed = re.search(r'id="crop" style="left:(.+)%;top:(.+)%;width:(.+)%;height:(.+)%"', page)
    left, top, width, height = (float(share) / 100 for share in placed.groups())
    assert width * picture.width == pytest.approx(height * picture.height, abs=1)
    peak = centre(np.asarray(overlay)[..., 3] > 150) / overlay.size
    seen = np.asarray(picture.convert("RGB")).astype(int)
    mark = centre(seen[..., 1] - seen[..., 0] > 150) / picture.size
    assert [left + peak[0] * width, top + peak[1] * height] == pytest.approx(mark, abs=0.02)


def test_a_page_lists_raw_scores():
    one = explanation()
    texts = Page(html([one])).texts
    assert all(f"{score:.6g}" in texts for score in one.text_relevance)
    assert "converged" in texts and "1.5 ms" in texts


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".PNG"])
def test_save_writes_the_file_and_nothing_else(tmp_path, suffix, capsys):
    path = tmp_path / f"why{suffix}"
    path.write_bytes(b"old")
    save([explanation(text=NASTY, name="not\udcffutf8.png")], path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_size > 500
    assert capsys.readouterr() == ("", "")


def test_a_saved_picture_opens(tmp_path):
    explanation().save(tmp_path / "why.png")
    with Image.open(tmp_path / "why.png") as image:
        assert image.format == "PNG" and image.width > 1000


def test_json_holds_the_documented_object(tmp_path):
    both = [explanation(text=NASTY, method=method) for method in METHODS[:2]]
    save(both, tmp_path / "why.json")
    text = (tmp_path / "why.json").read_text(encoding="utf-8")
    assert json.loads(text) == to_json(both)
    assert "😀" in text


def test_npz_holds_every_score(tmp_path):
    both = [explanation(method=method, text=NASTY, hot=(i, 3)) for i, method in enumerate(METHODS[:2])]
    save(both, tmp_path / "why.npz")
    with np.load(tmp_path / "why.npz", allow_pickle=False) as arrays:
        assert arrays["image_relevance"].shape == (2, 8, 8)
        for i, one in enumerate(both):
            assert (arrays["image_relevance"][i] == one.image_relevance).all()
            assert (arrays["text_relevance"][i] == one.text_relevance).all()
        assert arrays["methods"].tolist() == METHODS[:2]
        assert arrays["token_ids"].tolist() == [token.id for token in both[0].tokens]
        assert arrays["tokens"].tolist() == [token.text for token in both[0].tokens]
        rest = json.loads(str(arrays["json"]))
    assert rest["answer"] == to_json(both)["answer"]
    assert [one["method"] for one in rest["explanations"]] == METHODS[:2]


@pytest.mark.parametrize("name", ["why.jpg", "why", ".png"])
def test_another_suffix_is_an_error_that_lists_the_valid_ones(tmp_path, name):
    with pytest.raises(XaiError, match=r"\.png, \.html, \.json or \.npz"):
        save([explanation()], tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(XaiError, match=r"folder .*nowhere does not exist"):
        save([explanation()], tmp_path / "nowhere" / "why.json")


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "why.json").mkdir()
    with pytest.raises(XaiError, match=r"why\.json: it is a folder"):
        save([explanation()], tmp_path / "why.json")
    assert [p.name for p in tmp_path.iterdir()] == ["why.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "why.json"
    path.write_text("old")
    write = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        write(self, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(XaiError, match=r"why\.json: No space left on device"):
        save([explanation()], path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save([explanation()], tmp_path / "why.json")
    assert not list(tmp_path.iterdir())


def test_explaining_does_not_load_matplotlib():
    code = "import sys, xai.runtime.explainer, xai.runtime.show.save; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
