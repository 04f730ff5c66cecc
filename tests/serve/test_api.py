"""The API from outside: right answers in every form, alone and in company, and refusals of one shape."""

from __future__ import annotations

import base64
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import jsonschema
import numpy as np
import pytest
from PIL import Image

from xai.runtime.explanation import to_json
from xai.runtime.show.save import render
from xai.serve.forms import FORMS, accepted

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "What color is the circle?"
IMAGE = base64.b64encode((EXAMPLES / "scene1.png").read_bytes()).decode()


def without_times(content: dict) -> dict:
    return {key: value for key, value in content.items() if key not in ("timings_ms", "image")}


def same(found: dict, expected: dict) -> None:
    """The same object, numbers as close as rounding in another batch leaves them (docs/methods.md, Parity)."""
    for one, other in zip(found["explanations"], expected["explanations"], strict=True):
        for key in ("image_relevance", "text_relevance"):
            got, wanted = np.array(one.pop(key)), np.array(other.pop(key))
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * max(abs(wanted).max(), 1e-9))
        for key in ("method", "layers", "explains", "signed", "notes"):
            assert one[key] == other[key]
    assert [found["answer"]["id"], found["target"]["id"]] == [expected["answer"]["id"], expected["target"]["id"]]
    for key in ("question", "tokens", "words", "grid", "crop", "image_size"):
        assert found[key] == expected[key]


def expected(direct, image: str = "scene1.png", question: str = QUESTION, methods=("dsmi-grad",), target=None, versus=None) -> dict:
    return to_json(direct.explain_methods(EXAMPLES / image, question, methods, target, versus))


def test_json_and_multipart_say_what_the_command_line_says(server, direct) -> None:
    wanted = expected(direct)
    form = server.ask()
    assert form.status_code == 200, form.text
    assert form.headers["content-type"] == "application/json"
    same(form.json(), expected(direct))
    for image in (IMAGE, f"data:image/png;base64,{IMAGE}"):
        found = server.client.post("/v1/explain", json={"image": image, "question": QUESTION})
        assert found.status_code == 200, found.text
        assert without_times(found.json()).keys() == without_times(wanted).keys()
        same(found.json(), expected(direct))


def test_methods_targets_and_lengths(server, direct) -> None:
    body = {"image": IMAGE, "question": QUESTION, "methods": ["rollout", "random", "dsmi-grad@all"], "target": "blue", "top_k": 2}
    found = server.client.post("/v1/explain", json=body).json()
    same(dict(found), expected(direct, methods=("rollout", "random", "dsmi-grad@all"), target="blue"))
    assert len(found["top"]) == 2
    assert found["target"]["text"] == "blue"
    form = server.ask(methods="rollout,random", target="blue", top_k="3").json()
    assert [one["method"] for one in form["explanations"]] == ["rollout", "random"]
    assert len(form["top"]) == 3
    by_id = server.client.post("/v1/explain", json={"image": IMAGE, "question": QUESTION, "target": found["target"]["id"]}).json()
    assert by_id["target"]["text"] == "blue"


def test_contrasts_in_json_and_in_a_form(server, direct) -> None:
    methods = ("dsmi-grad", "relevance-maps", "rollout")
    wanted = expected(direct, methods=methods, target="red", versus="blue")
    body = {"image": IMAGE, "question": QUESTION, "methods": methods, "target": "red", "versus": "blue"}
    for response in (
        server.client.post("/v1/explain", json=body),
        server.client.post("/v1/explain", json={key: value for key, value in body.items() if key != "target"}),
        server.client.post("/v1/explain", json=body | {"versus": wanted["versus"]["id"]}),
        server.ask(methods=",".join(methods), target="red", versus="blue"),
    ):
        found = response.json()
        assert found["versus"]["text"] == "blue", found
        assert [one["signed"] for one in found["explanations"]] == [True, False, False]
        same(found, expected(direct, methods=methods, target="red", versus="blue"))
    assert server.ask(accept="text/html", target="red", versus="blue").text.count("speaks for") == 2
    documented = server.client.get("/openapi.json").json()["components"]["schemas"]
    assert "versus" in documented["ExplainRequest"]["properties"] and "versus" not in documented["AnswerRequest"]["properties"]
    assert "versus" in documented["Explanation"]["required"]


def test_every_form(server, direct) -> None:
    found = direct.explain_methods(EXAMPLES / "scene1.png", QUESTION, ["dsmi-grad"])
    for form, suffix in FORMS.items():
        response = server.ask(accept=form)
        assert response.status_code == 200
        assert response.headers["content-type"].partition(";")[0] == form
        if suffix == ".npz":
            with np.load(io.BytesIO(response.content)) as got, np.load(io.BytesIO(render(found, Path("a.npz")))) as wanted:
                np.testing.assert_allclose(
                    got["image_relevance"], wanted["image_relevance"], rtol=0, atol=1e-4 * wanted["image_relevance"].max()
                )
        if suffix == ".png":
            with Image.open(io.BytesIO(response.content)) as got, Image.open(io.BytesIO(render(found, Path("a.png")))) as wanted:
                assert got.size == wanted.size
        if suffix == ".html":
            assert response.headers["content-security-policy"].endswith("sandbox allow-scripts allow-downloads")
            assert "http://" not in response.text and "https://" not in response.text


def test_sixteen_mixed_clients_get_what_each_alone_gets(server, direct) -> None:
    cases = [
        (image, question, methods, target)
        for image in ("scene1.png", "scene2.png")
        for question in (QUESTION, "Is the black circle left of the red rectangle?")
        for methods, target in (("random", None), ("dsmi-grad", None), ("dsmi-grad", "no"), ("rollout", "yes"), ("dsmi-grad", "yes"))
    ]
    wanted = [expected(direct, image, question, [method], target) for image, question, method, target in cases]

    def ask(numbered) -> dict:
        number, (image, question, method, target) = numbered
        fields = {"method": method, **({"target": target} if target else {})}
        form = ["application/json", "application/x-npz", "text/csv", "image/png"][number % 4]
        response = server.ask(image=image, question=question, accept=form, **fields)
        assert response.status_code == 200, response.text
        return relevances(response, form)

    def relevances(response, form: str) -> dict:
        """What a form says of the scores; a picture holds none."""
        if form == "application/json":
            return response.json()
        if form == "application/x-npz":
            with np.load(io.BytesIO(response.content)) as arrays:
                return {"image_relevance": arrays["image_relevance"][0].ravel(), "text_relevance": arrays["text_relevance"][0]}
        if form == "text/csv":
            rows = [line.split(",") for line in response.text.splitlines()]
            return {"image_relevance": [float(row[-1]) for row in rows if row[0] == "patch"]}
        Image.open(io.BytesIO(response.content)).verify()
        return {}

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, enumerate(cases)))
    for one, other in zip(found, wanted, strict=True):
        if "explanations" in one:
            same(one, other)
            continue
        for key, got in one.items():
            scores = np.array(other["explanations"][0][key])
            np.testing.assert_allclose(got, scores, rtol=0, atol=1e-4 * max(scores.max(), 1e-9))


def test_an_answer_with_parts_left_out_is_the_explainer_s_own(server, direct) -> None:
    grid = direct.session.description.grid
    patches = np.zeros((grid, grid), dtype=bool)
    patches[0, :3] = True
    for fields, masks in (({}, {}), ({"without_patches": "0,1,2"}, {"without_patches": patches})):
        found = server.ask("/v1/answer", **fields).json()
        wanted = direct.answer(EXAMPLES / "scene1.png", QUESTION, **masks)
        assert found["answer"]["id"] == wanted.answer.id
        assert found["answer"]["logit"] == pytest.approx(wanted.answer.logit, abs=1e-4)
    words = server.client.post("/v1/answer", json={"image": IMAGE, "question": QUESTION, "without_words": [1]}).json()
    assert words["without_words"] == [1]


def test_the_next_question_about_a_picture_skips_the_encoder(server) -> None:
    image = Image.new("RGB", (50, 50), (1, 2, 3))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    body = {"image": base64.b64encode(buffer.getvalue()).decode(), "question": QUESTION}
    first, again = (server.client.post("/v1/explain", json=body).headers["server-timing"] for _ in range(2))
    assert '"kept"' not in first
    assert "encode_image;dur=" in again and ';desc="kept"' in again
    for stage in ("queue", "decode", "evidence", "solver", "write"):
        assert f"{stage};dur=" in again


JSON = {"Content-Type": "application/json"}
GOOD = {"image": IMAGE, "question": QUESTION}


@pytest.mark.parametrize(
    ("change", "status", "sentence"),
    [
        ({"question": " "}, 422, "the question is empty"),
        ({"question": ""}, 422, "'question'"),
        ({"question": "x" * 3000}, 422, "'question'"),
        ({"question": None}, 422, "'question'"),
        ({"image": "!"}, 422, "base64"),
        ({"image": "http://127.0.0.1/a.png"}, 422, "nothing is fetched"),
        ({"image": "/etc/passwd"}, 422, "base64"),
        ({"image": "data:text/html;base64,aaaa"}, 415, "data URI"),
        ({"image": base64.b64encode(b"GIF89a").decode()}, 415, "PNG, JPEG, WEBP"),
        ({"image": IMAGE[:4000]}, 422, "image"),
        ({"target": "zebra"}, 422, "does not know the answer"),
        ({"target": "red", "versus": "zebra"}, 422, "does not know the answer 'zebra'"),
        ({"target": "red", "versus": "red"}, 422, "target and versus are both 'red'"),
        ({"versus": "red"}, 422, "versus names the model's own answer"),
        ({"versus": "blue", "method": "rollout"}, 422, "versus says nothing to rollout"),
        ({"method": "nonsense"}, 422, "unknown method"),
        ({"method": "dsmi", "methods": ["dsmi"]}, 422, "both given"),
        ({"methods": []}, 422, "'methods'"),
        ({"top_k": 0}, 422, "'top_k'"),
        ({"top_k": "5"}, 422, "'top_k'"),
        ({"top_k": True}, 422, "'top_k'"),
        ({"foil": "yes"}, 422, "'foil'"),
        ({"model": "other"}, 404, "no model 'other'"),
    ],
)
def test_input_that_cannot_be_used_is_one_sentence(server, change, status, sentence) -> None:
    response = server.client.post("/v1/explain", json=GOOD | change)
    assert response.status_code == status, response.text
    problem = response.json()
    assert set(problem) == {"error", "code"}
    assert sentence in problem["error"] and "\n" not in problem["error"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", JSON, 400),
        (b"{", JSON, 400),
        (b"\xff", JSON, 400),
        (b'{"image": NaN}', JSON, 400),
        (b'{"image": "", "image": ""}', JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b"[]", JSON, 422),
        (b"x", {"Content-Type": "text/plain"}, 415),
        (b"x", {}, 415),
        (b"x", {"Content-Type": "multipart/form-data"}, 400),
        (b"x", {"Content-Type": "multipart/form-data; boundary=a"}, 400),
        (b"--a--", {"Content-Type": "multipart/form-data; boundary=a"}, 422),
        (
            b'--a\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n--a--\r\n',
            {"Content-Type": "multipart/form-data; boundary=a"},
            422,
        ),
        (b"x" * 16_000_001, JSON, 413),
        (b"{}", {**JSON, "Accept": "image/gif"}, 406),
    ],
)
def test_bodies_that_are_not_what_they_say(server, body, headers, status) -> None:
    response = server.client.post("/v1/explain", content=body, headers=headers)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "code"}


def test_a_chunked_body_is_measured_too(server) -> None:
    response = server.client.post("/v1/explain", content=(b"x" * 1_000_000 for _ in range(20)), headers=JSON)
    assert response.status_code == 413


def test_routes_that_are_not_there(server) -> None:
    missing = server.client.get("/v1/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "route")
    wrong = server.client.get("/v1/explain")
    assert (wrong.status_code, wrong.headers["allow"], set(wrong.json())) == (405, "POST", {"error", "code"})


def test_request_ids_are_kept_or_made(server) -> None:
    assert server.client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = server.client.get("/healthz", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"]
    assert len(made) == 32


def test_the_description_and_the_page_need_no_network(server) -> None:
    page = server.client.get("/docs")
    assert page.status_code == 200
    assert "<script" not in page.text and "https://" not in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    description = server.client.get("/openapi.json").json()
    for path in description["paths"]:
        assert f"<code>{path}</code>" in page.text
    schema = {"$ref": "#/components/schemas/Explanation", "components": description["components"]}
    jsonschema.Draft202012Validator(schema).validate(server.ask().json())
    schema["$ref"] = "#/components/schemas/Prediction"
    jsonschema.Draft202012Validator(schema).validate(server.ask("/v1/answer").json())


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", "application/json"),
        ("", None),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("image/*", "image/png"),
        ("application/json;q=0.1, image/png;q=0.9", "image/png"),
        ("application/json;q=0", None),
        ("image/png;q=nonsense", None),
        ("text/csv", "text/csv"),
        ("video/mp4", None),
    ],
)
def test_the_form_that_is_accepted(accept, form) -> None:
    from starlette.requests import Request

    from xai.serve.errors import Refusal

    request = Request({"type": "http", "headers": [(b"accept", accept.encode())]})
    if form is None:
        with pytest.raises(Refusal):
            accepted(request)
    else:
        assert accepted(request) == form


def test_json_is_the_command_line_s_to_the_byte_but_for_times(server, direct) -> None:
    text = server.ask().text
    assert json.loads(text)["schema_version"] == 1
    assert text.endswith("}\n")
    assert text.splitlines()[1].startswith(' "schema_version"')


def test_a_client_of_http_1_0_is_served(server) -> None:
    assert httpx.get(f"{server.url}/readyz", headers={"Connection": "close"}).status_code == 200


def test_the_table_of_the_readme_names_every_path_that_there_is(server) -> None:
    """Both ways: what is described is served, and what is served is described."""
    readme = (EXAMPLES.parent / "README.md").read_text()
    table = readme.partition("| what | path |")[2].partition("\n\n")[0]
    described = {path.removeprefix("POST ").removeprefix("GET ") for path in re.findall(r"`((?:(?:POST|GET) )?/[^`]*)`", table)}
    served = {path.replace("{model}", "{m}").replace("{name}", "{m}") for path in server.client.get("/openapi.json").json()["paths"]}
    assert served <= described
    for path in described - served:
        assert server.client.get(path).status_code == 200, path


def test_words_are_explained_to_who_asks_and_to_nobody_else(server, direct) -> None:
    wanted = to_json(direct.explain_methods(EXAMPLES / "scene1.png", QUESTION, ["relevance-maps", "dsmi"], word_regions=True))
    body = {"image": IMAGE, "question": QUESTION, "methods": ["relevance-maps", "dsmi"]}

    def ask(asked: bool) -> dict:
        return server.client.post("/v1/explain", json={**body, "word_regions": asked}).json()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, [True, False] * 4))
    for asked, found in zip([True, False] * 4, answers, strict=True):
        for one, other in zip(found["explanations"], wanted["explanations"], strict=True):
            assert ("word_regions" in one) == ("word_regions_kind" in one) == asked
            if asked:
                assert one["word_regions_kind"] == other["word_regions_kind"]
                np.testing.assert_allclose(one["word_regions"], other["word_regions"], rtol=0, atol=1e-4 * np.max(other["word_regions"]))
    form = server.ask(method="relevance-maps", word_regions="true").json()
    assert np.shape(form["explanations"][0]["word_regions"]) == (5, 12, 12)
    assert "word_regions" not in server.ask(method="relevance-maps", word_regions="false").json()["explanations"][0]
    for response in (server.ask(word_regions="yes"), server.client.post("/v1/explain", json={**body, "word_regions": 1})):
        assert response.status_code == 422
        assert "word_regions" in response.json()["error"]
