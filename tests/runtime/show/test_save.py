import csv
import errno
import io
import json
import os
import pickle
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xai.base.errors import XaiError
from xai.runtime.explanation import to_json
from xai.runtime.show.save import SUFFIXES, render, save
from xai.tests.runtime.show.explanations import METHODS, NASTY, explanation


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


def test_colours_need_no_matplotlib():
    modules = "theme, xai.runtime.show.document, xai.runtime.show.notebook, xai.runtime.show.terminal"
    code = f"import sys, xai.runtime.show.{modules}; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_picture_is_drawn_whatever_mplbackend_says(tmp_path, suffix):
    path, pickled = tmp_path / f"why{suffix}", tmp_path / "explanation"
    pickled.write_bytes(pickle.dumps(explanation()))
    code = """
import os, pickle, sys
from pathlib import Path
pickle.loads(Path(sys.argv[1]).read_bytes()).save(sys.argv[2])
sys.exit(os.environ["MPLBACKEND"] != "nope")
"""
    arguments = [sys.executable, "-c", code, pickled, path]
    done = subprocess.run(arguments, env=os.environ | {"MPLBACKEND": "nope"}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert path.stat().st_size > 500


def test_what_mplbackend_names_is_kept_for_the_process():
    code = "from xai.base.process import import_matplotlib as i; i(); import matplotlib; print(matplotlib.get_backend())"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"MPLBACKEND": "svg"}, capture_output=True, check=True)
    assert done.stdout.split() == [b"svg"]


@pytest.mark.parametrize("count", [1, 3])
def test_csv_holds_every_raw_score(count):
    several = [explanation(method=method, text=NASTY, hot=(i, 3)) for i, method in enumerate(METHODS[:count])]
    rows = list(csv.DictReader(io.StringIO(render(several, Path("why.csv")).decode(), newline="")))
    patches, words = ([row for row in rows if row["kind"] == kind] for kind in ("patch", "word"))
    assert len(patches) + len(words) == len(rows)
    assert [(int(row["row"]), int(row["column"])) for row in patches] == list(np.ndindex(8, 8))
    assert [int(row["word"]) for row in words] == list(range(len(several[0].question.words)))
    assert [row["text"] for row in words] == [word.text for word in several[0].question.words]
    for one in several:
        assert [float(row[one.method]) for row in patches] == one.image_relevance.ravel().tolist()
        assert [float(row[one.method]) for row in words] == one.word_relevance.tolist()


def test_text_stays_text_in_a_vector_picture():
    one = explanation(text="What is <left> of $5 & the sun?")
    root = ET.fromstring(render([one], Path("why.svg")))
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {one.question.text, *one.question.text.split(), "a house", "80.0%"} <= set(texts)
    fonts = re.findall(rb"/BaseFont /(?:[A-Z]+\+)?([\w-]+)", render([one], Path("why.pdf")))
    assert set(fonts) == {b"DejaVuSans", b"DejaVuSans-Bold"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_explanation_gives_the_same_file(suffix):
    def content() -> bytes:
        return render([explanation(method=method) for method in METHODS[:2]], Path(f"why{suffix}"))

    assert zlib.crc32(content()) == zlib.crc32(content())


def test_several_methods_are_compared_in_json():
    assert "comparison" not in to_json([explanation()])
    found = to_json([explanation(method=method, hot=(i // 2, 3)) for i, method in enumerate(METHODS[:3])])["comparison"]
    assert [pair["methods"] for pair in found["pairs"]] == [METHODS[:2], METHODS[:3:2], METHODS[1:3]]
    assert found["pairs"][0] == {
        "methods": METHODS[:2],
        "image": {"spearman": 1, "overlap": 1},
        "words": {"spearman": 1, "overlap": 1},
    }
    assert found["pairs"][1]["image"]["spearman"] < 0


def test_one_method_over_all_layers_is_told_from_the_first():
    both = [explanation(layers="first"), explanation(layers="all", hot=(7, 7))]
    (pair,) = to_json(both)["comparison"]["pairs"]
    assert pair["methods"] == ["dsmi-grad", "dsmi-grad@all"]
    assert pair["image"]["spearman"] < 0
    header = render(both, Path("why.csv")).decode().splitlines()[0]
    assert header == "kind,row,column,word,text,dsmi-grad,dsmi-grad@all"
    assert '"method":"dsmi-grad","layers":"all"' in render(both, Path("why.html")).decode()
