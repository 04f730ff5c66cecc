"""The shipped JSON Schemas against what is really written, against what is documented, and against damage."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from PIL import Image

from xai.base.description import HEADS_FROM
from xai.cli import main
from xai.runtime.bundle.manifest import FILES, FORMAT, FORMATS, GRAPHS, HASH, PRECISIONS, VERSION
from xai.runtime.explanation import SCHEMA_VERSION
from xai.runtime.methods import METHODS
from xai.runtime.sessions.open import SESSIONS
from xai.spectral import Algorithm, Certificate, Status

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
QUESTION = "What color is the circle?"
REMOVED = object()
"""As a new value: the key goes."""


def schema(name: str) -> dict[str, Any]:
    """As an installed package finds it."""
    return json.loads((importlib.resources.files("xai.runtime") / "schema" / f"{name}.schema.json").read_text(encoding="utf-8"))


def strict(text: str) -> Any:
    """JSON without what Python's parser lets pass: NaN and infinity are no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def explain(*arguments: str) -> list[dict[str, Any]]:
    """The objects that `xai explain --json -` prints of the demo model."""
    found = CliRunner().invoke(main, ["explain", *arguments, "--json", "-"])
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines() if not found.stdout.startswith("{\n") else [found.stdout]
    return [strict(line) for line in lines]


@pytest.fixture(scope="module")
def explained() -> dict[str, Any]:
    """One real object with every key but `comparison`, small enough to be damaged in every place."""
    asked = ["--words", "--without-words", "2", "--without-region", "0,0,9,9"]
    return explain(str(EXAMPLES / "scene1.png"), QUESTION, *asked)[0]


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return strict((ROOT / "meter/demo/bundle/manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def valid(explained, manifest) -> dict[str, Any]:
    """Real content of each kind; of the hundreds of alike numbers and tensors a few are kept."""
    (one,) = explained["explanations"]
    one = one | {key: one[key][:2] for key in ("image_relevance", "text_relevance")}
    graphs = {
        name: {side: dict(list(tensors.items())[:2]) for side, tensors in graph.items()} for name, graph in manifest["graphs"].items()
    }
    return {"explanation": explained | {"explanations": [one]}, "manifest": manifest | {"graphs": graphs}}


@cache
def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema(name))


def refusals(name: str, content: Any) -> list[str]:
    return [f"{error.json_path}: {error.message[:120]}" for error in validator(name).iter_errors(content)]


@pytest.mark.parametrize("name", ["explanation", "manifest"])
def test_schemas_are_schemas(name) -> None:
    Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize(
    "options",
    [
        ["-m", "all"],
        ["-m", "all", "--layers", "all"],
        ["--target", "blue", "--top-k", "1"],
        ["-m", "all", "--target", "yes", "--versus", "no"],
        ["--words", "-m", "all"],
        ["--without-words", "0,3"],
    ],
)
def test_explanations_are_valid(options) -> None:
    found = explain(str(EXAMPLES), QUESTION, *options)
    assert len(found) == 3
    for one in found:
        assert refusals("explanation", one) == []
        assert {len(one[key]) for key in ("raw_tokens", "token_ids")} == {len(one["tokens"])}
        for each in one["explanations"]:
            assert len(each["image_relevance"]) == one["grid"][0] * one["grid"][1]
            assert len(each["text_relevance"]) == len(one["tokens"])
            assert ("word_regions" in each) == ("--words" in options)
            if "word_regions" in each:
                assert np.shape(each["word_regions"]) == (len(one["words"]), *one["grid"])
        assert ("answer_before" in one) == ("--without-words" in options)


@pytest.mark.parametrize("question", ["Why?", "circle circle", "Is it red?", "red " * 9])
def test_explanations_of_edge_cases_are_valid(tmp_path, question) -> None:
    Image.fromarray(np.full((40, 90, 3), 128, np.uint8)).save(tmp_path / "grey.png")
    for options in (["-m", "all"], ["-m", "all", "--layers", "all"]):
        (one,) = explain(str(tmp_path / "grey.png"), question, *options)
        assert refusals("explanation", one) == []


def test_the_demo_manifest_is_valid(manifest) -> None:
    assert refusals("manifest", manifest) == []


def test_a_torchscript_manifest_is_valid(manifest) -> None:
    record = {"sha256": "0" * 64, "bytes": 1}
    kept = {name: one for name, one in manifest["files"].items() if not name.endswith(".onnx") and name != "weights.bin"}
    parity = manifest["parity"] | {"formats": {"torchscript": manifest["parity"]["formats"]["onnx"]}}
    other = {"formats": ["torchscript"], "opset": None, "files": kept | {"graphs.pt": record}, "parity": parity}
    assert refusals("manifest", manifest | other) == []


RUN = {"text_tokens": [12], "image_tokens": [145], "options": "lean"}


def test_a_manifest_says_what_was_run(manifest) -> None:
    def with_runs(runs: Any) -> dict[str, Any]:
        return manifest | {"parity": manifest["parity"] | {"runs": runs}}

    assert refusals("manifest", with_runs({"onnx": [RUN, RUN | {"options": "default"}]})) == []
    wrong = [{}, {"onnx": []}, {"other": [RUN]}, {"onnx": [{}]}, {"onnx": [RUN | {"text_tokens": [0]}]}, {"onnx": [RUN | {"options": "x"}]}]
    assert all(refusals("manifest", with_runs(runs)) for runs in [*wrong, {"onnx": [RUN | {"more": 1}]}])


# Damage: every place of real content, one after the other. Of a list the first item stands for all.


def places(content: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of every value below `content`."""
    children = content.items() if isinstance(content, dict) else enumerate(content[:1]) if isinstance(content, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def at(content: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def changed(content: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy with another value in that place; what lies beside the path is shared."""
    key, *rest = path
    copy = content.copy()
    if rest:
        copy[key] = changed(copy[key], tuple(rest), value)
    elif value is REMOVED:
        del copy[key]
    else:
        copy[key] = value
    return copy


def accepted(name: str, content: Any, path: tuple[str | int, ...], value: Any) -> bool:
    return validator(name).is_valid(changed(content, path, value))


OLDER_LACK = {("model", "published", "positions"), ("model", "shown"), ("parity", "runs")}
"""What bundles of format 2 were first written without."""


def is_free(path: tuple[str | int, ...]) -> bool:
    """Whether a manifest may lack the entry of that path: a tensor, a group that was measured, a package that wrote it, what came later."""
    tensor = len(path) == 4 and path[0] == "graphs"
    group = len(path) == 4 and path[:2] == ("parity", "formats") and str(path[3]).startswith(("evidence", "relevance"))
    package = len(path) == 2 and path[0] == "written_by" and path[1] not in ("python", "platform", "xai-vqa")
    return tensor or group or package or path in OLDER_LACK


@pytest.mark.parametrize("name", ["explanation", "manifest"])
def test_a_missing_key_is_refused(valid, name) -> None:
    keys = [path for path in places(valid[name]) if isinstance(path[-1], str)]
    assert [path for path in keys if accepted(name, valid[name], path, REMOVED) and not is_free(path)] == []


@pytest.mark.parametrize("name", ["explanation", "manifest"])
def test_an_unknown_key_is_refused(valid, name) -> None:
    objects = [(), *(path for path in places(valid[name]) if isinstance(at(valid[name], path), dict))]
    assert [path for path in objects if accepted(name, valid[name], (*path, "unknown"), None)] == []


@pytest.mark.parametrize("name", ["explanation", "manifest"])
@pytest.mark.parametrize("value", [{"a": {}}, [[]], True])
def test_a_value_of_another_type_is_refused(valid, name, value) -> None:
    other = [path for path in places(valid[name]) if not (isinstance(value, bool) and isinstance(at(valid[name], path), bool))]
    assert [path for path in other if accepted(name, valid[name], path, value)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), SCHEMA_VERSION + 1),
        (("image_size",), [480]),
        (("image_size", 0), 0),
        (("crop",), [0, 0, 480]),
        (("crop", 0), -1),
        (("crop", 0), 0.5),
        (("question",), ""),
        (("answer", "probability"), 1.5),
        (("answer", "probability"), "high"),
        (("answer", "id"), -1),
        (("top",), []),
        (("tokens",), []),
        (("words", 0, "tokens"), [0]),
        (("words", 0, "tokens"), [1, 1]),
        (("grid",), [12]),
        (("explanations",), []),
        (("explanations", 0, "layers"), "last"),
        (("explanations", 0, "explains"), "logit"),
        (("explanations", 0, "signed"), None),
        (("versus",), "blue"),
        (("versus",), {"id": 4}),
        (("explanations", 0, "method"), "DSMI"),
        (("explanations", 0, "image_relevance", 0), -0.1),
        (("explanations", 0, "image_relevance", 0), None),
        (("explanations", 0, "solver", 0, "graph"), "image"),
        (("explanations", 0, "solver", 0, "status"), "solved"),
        (("explanations", 0, "solver", 0, "eigenvalue"), 2.5),
        (("explanations", 0, "solver", 0, "gap"), -1),
        (("explanations", 0, "solver", 0, "nodes"), -1),
        (("explanations", 0, "notes"), [""]),
        (("explanations", 0, "word_regions_kind"), "attention"),
        (("explanations", 0, "word_regions_kind"), REMOVED),
        (("explanations", 0, "word_regions"), []),
        (("explanations", 0, "word_regions", 0, 0, 0), -0.1),
        (("without_words", 0), -1),
        (("without_patches",), REMOVED),
        (("answer_before",), REMOVED),
        (("session",), "tensorrt"),
        (("precision",), "float8"),
        (("timings_ms", "total"), -1),
    ],
)
def test_a_wrong_value_of_an_explanation_is_refused(explained, path, value) -> None:
    assert refusals("explanation", changed(explained, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), "bundle"),
        (("version",), VERSION + 1),
        (("model", "vocab_size"), 0),
        (("model", "sites", 0, "kind"), "other"),
        (("model", "streams", 0, "read"), "some"),
        (("model", "special", "text", "before"), -1),
        (("model", "picture", "kind"), "circle"),
        (("model", "picture", "std"), [0.2, 0.2]),
        (("model", "picture", "std", 0), 0),
        (("model", "published", "layers"), "last"),
        (("model", "shown"), "percent"),
        (("heads", "cross_modal"), 0),
        (("heads", "said_by"), "nobody"),
        (("content_sha256",), "0" * 63),
        (("precision",), "float64"),
        (("formats",), []),
        (("formats",), ["onnx", "onnx"]),
        (("formats",), ["onnx", "torchscript"]),  # without graphs.pt
        (("formats",), ["torchscript"]),
        (("opset",), None),
        (("graphs", "evil"), {"inputs": {}, "outputs": {}}),
        (("graphs", "answer", "outputs"), {}),
        (("graphs", "answer", "outputs", "logits", "dtype"), "object"),
        (("graphs", "answer", "outputs", "logits", "axes"), ["anything"]),
        (("graphs", "answer", "outputs", "logits", "axes"), [-1]),
        (("files", "../weights.bin"), {"sha256": "0" * 64, "bytes": 1}),
        (("files", "graphs.pt"), {"sha256": "0" * 64, "bytes": 1}),  # not of these formats
        (("files", "weights.bin"), REMOVED),
        (("files", "weights.bin", "sha256"), "0" * 63),
        (("files", "weights.bin", "sha256"), "A" * 64),
        (("files", "weights.bin", "bytes"), 0),
        (("parity", "formats"), {}),
        (("parity", "formats", "onnx", "logits", "error"), -1),
        (("parity", "formats", "onnx", "logits", "cosine"), 2),
        (("parity", "forced"), ["everything"]),
        (("written_by", "python"), ""),
    ],
)
def test_a_wrong_value_of_a_manifest_is_refused(manifest, path, value) -> None:
    assert refusals("manifest", changed(manifest, path, value))


def test_scores_below_0_are_for_what_has_signs(explained) -> None:
    negative = changed(explained, ("explanations", 0, "image_relevance", 0), -0.1)
    assert refusals("explanation", negative)
    assert refusals("explanation", changed(negative, ("explanations", 0, "signed"), True)) == []


# What the schemas and docs/formats.md repeat of the code.


def test_the_schemas_name_what_the_code_names() -> None:
    explanation, manifest = schema("explanation"), schema("manifest")
    report = explanation["$defs"]["report"]["properties"]
    for key, names in (("status", Status), ("method", Algorithm), ("certificate", Certificate)):
        assert report[key]["enum"] == [one.name.lower().replace("_", "-") for one in names]
    assert explanation["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    assert explanation["$defs"]["explanation"]["properties"]["layers"]["enum"] == ["first", "all", None]
    assert explanation["properties"]["session"]["enum"] == [*SESSIONS, "eager"]
    assert explanation["properties"]["precision"]["enum"] == list(PRECISIONS)
    pattern = re.compile(explanation["$defs"]["explanation"]["properties"]["method"]["pattern"])
    assert [name for name in METHODS if not pattern.match(name.removesuffix("@all"))] == []
    properties = manifest["properties"]
    assert (properties["format"]["const"], properties["version"]["const"]) == (FORMAT, VERSION)
    assert manifest["$defs"]["heads"]["properties"]["said_by"]["enum"] == list(HEADS_FROM)
    assert properties[HASH]
    assert (properties["precision"]["enum"], properties["formats"]["items"]["enum"]) == (list(PRECISIONS), list(FORMATS))
    assert properties["graphs"]["propertyNames"]["enum"] == list(GRAPHS)
    assert set(properties["files"]["propertyNames"]["enum"]) == FILES


def keys(part: Any) -> set[str]:
    """Every key that a schema describes, and every name that it lists of an object's entries."""
    if isinstance(part, list):
        return set().union(*map(keys, part))
    if not isinstance(part, dict):
        return set()
    own = set(part["properties"]) if isinstance(part.get("properties"), dict) and "type" in part else set()
    return own.union(*(keys(child) for child in part.values()))


@pytest.mark.parametrize(("name", "section"), [("explanation", "Explanation"), ("manifest", "Bundle")])
def test_every_key_is_documented_and_every_documented_key_exists(name, section) -> None:
    text = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    part = re.split(r"^## ", text, flags=re.MULTILINE)
    (found,) = [one for one in part if one.startswith(f"{section}\n")]
    rows = re.findall(r"^\| (`[^|]*`) \|", found, flags=re.MULTILINE)
    documented = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    assert documented == keys(schema(name))
