"""KServe v1 and the Open Inference Protocol v2: right tensors, states and refusals."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "What color is the circle?"
IMAGE = base64.b64encode((EXAMPLES / "scene1.png").read_bytes()).decode()
INSTANCE = {"image": IMAGE, "question": QUESTION}


@pytest.fixture(scope="module")
def expected(direct):
    return direct.explain(EXAMPLES / "scene1.png", QUESTION)


def close(found, wanted) -> None:
    np.testing.assert_allclose(np.ravel(found), np.ravel(wanted), rtol=0, atol=1e-4 * np.max(wanted))


def infer(server, path: str = "infer", **more):
    texts = {"image": IMAGE, "question": QUESTION}
    inputs = [{"name": name, "datatype": "BYTES", "shape": [1], "data": [text]} for name, text in texts.items()]
    return server.client.post(f"/v2/models/demo/{path}", json={"inputs": inputs, **more})


def test_kserve_lists_and_states(server) -> None:
    assert server.client.get("/v1/models").json() == {"models": ["demo"]}
    assert server.client.get("/v1/models/demo").json() == {"name": "demo", "ready": True}
    assert server.client.get("/v1/models/other").status_code == 404


def test_kserve_explains_and_predicts_every_instance(server, expected) -> None:
    blob = {"image": {"b64": IMAGE}, "question": QUESTION}
    other = {"image": IMAGE, "question": "Is there a circle?", "method": "rollout"}
    response = server.client.post("/v1/models/demo:explain", json={"instances": [INSTANCE, blob, other]})
    assert response.status_code == 200, response.text
    first, same, third = response.json()["explanations"]
    close(first["explanations"][0]["image_relevance"], expected.image_relevance)
    close(same["explanations"][0]["image_relevance"], expected.image_relevance)
    assert third["explanations"][0]["method"] == "rollout"
    predicted = server.client.post("/v1/models/demo:predict", json={"instances": [INSTANCE]}).json()["predictions"]
    assert [one["answer"]["text"] for one in predicted] == [expected.answer.text]


def test_both_protocols_take_contrasts(server, direct) -> None:
    wanted = direct.explain(EXAMPLES / "scene1.png", QUESTION, target="red", versus="blue")
    asked = {"target": "red", "versus": "blue"}
    (found,) = server.client.post("/v1/models/demo:explain", json={"instances": [INSTANCE | asked]}).json()["explanations"]
    assert found["versus"]["text"] == "blue" and found["explanations"][0]["signed"]
    tensors = {tensor["name"]: tensor for tensor in infer(server, "explain", parameters=asked).json()["outputs"]}
    assert json.loads(tensors["explanation"]["data"][0])["versus"]["text"] == "blue"
    for scores in (found["explanations"][0]["image_relevance"], tensors["image_relevance"]["data"]):
        np.testing.assert_allclose(scores, wanted.image_relevance.ravel(), rtol=0, atol=1e-4 * abs(wanted.image_relevance).max())


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"instances": []}, 422, "1 to"),
        ({"instances": [INSTANCE] * 100}, 422, "1 to"),
        ({"instances": 3}, 422, "instances"),
        ([], 422, "instances"),
        ({"instances": [INSTANCE], "more": 1}, 422, "'more'"),
        ({"instances": [INSTANCE, {**INSTANCE, "image": "!"}]}, 422, "instance 1: image"),
        ({"instances": [INSTANCE, {"image": IMAGE}]}, 422, "instance 1"),
        ({"instances": [INSTANCE, {**INSTANCE, "target": "zebra"}]}, 422, "zebra"),
        ({"instances": [INSTANCE, {**INSTANCE, "target": "no", "versus": "no"}]}, 422, "target and versus are both 'no'"),
        ({"instances": [{**INSTANCE, "model": "other"}]}, 422, "the path"),
    ],
)
def test_kserve_refuses_what_is_wrong(server, body, status, sentence) -> None:
    response = server.client.post("/v1/models/demo:explain", json=body)
    assert response.status_code == status, response.text
    assert sentence in response.json()["error"]
    assert server.metric('xai_in_flight{model_name="demo"}') == 0


def test_oip_metadata_and_health(server, expected) -> None:
    assert server.client.get("/v2").json()["extensions"] == ["xai_explain"]
    assert server.client.get("/v2/health/live").json() == {"live": True}
    assert server.client.get("/v2/health/ready").json() == {"ready": True}
    assert server.client.get("/v2/models/demo/ready").status_code == 200
    metadata = server.client.get("/v2/models/demo").json()
    shapes = {tensor["name"]: tensor["shape"] for tensor in metadata["outputs"]}
    assert shapes["image_relevance"][1:] == list(expected.image_relevance.shape)
    for path in ("/v2/models/other", "/v2/models/other/ready"):
        assert server.client.get(path).status_code == 404
    assert server.client.post("/v2/models/other/infer", json={}).status_code == 404


def test_oip_infers_and_explains(server, expected) -> None:
    response = infer(server, id="7", model_name="demo", parameters={"method": "dsmi-grad", "binary_data_output": False})
    assert response.status_code == 200, response.text
    content = response.json()
    assert (content["model_name"], content["id"]) == ("demo", "7")
    tensors = {tensor["name"]: tensor for tensor in content["outputs"]}
    assert list(tensors) == ["answer", "image_relevance", "text_relevance"]
    assert tensors["answer"]["data"] == [expected.answer.text]
    for name in ("image_relevance", "text_relevance"):
        wanted = getattr(expected, name)
        assert tensors[name]["shape"] == [1, *wanted.shape]
        close(tensors[name]["data"], wanted)
    (text,) = infer(server, "explain", outputs=[{"name": "explanation"}]).json()["outputs"]
    close(json.loads(text["data"][0])["explanations"][0]["image_relevance"], expected.image_relevance)


def test_oip_answers_without_explaining(server, expected) -> None:
    before = server.metric('request_explain_seconds_count{model_name="demo"}')
    (tensor,) = infer(server, outputs=[{"name": "answer"}]).json()["outputs"]
    assert tensor["data"] == [expected.answer.text]
    assert server.metric('request_explain_seconds_count{model_name="demo"}') == before


@pytest.mark.parametrize(
    ("change", "status", "sentence"),
    [
        ({"inputs": []}, 422, "'image'"),
        ({"inputs": 3}, 422, "'inputs'"),
        ({"inputs": [{"name": "other"}]}, 422, "'other'"),
        ({"inputs": [{"name": "image", "datatype": "FP32", "shape": [1], "data": [1]}]}, 422, "BYTES"),
        ({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [1]}]}, 422, "one text"),
        ({"outputs": [{"name": "explanation"}]}, 422, "no output"),
        ({"parameters": {"target": "zebra"}}, 422, "zebra"),
        ({"parameters": {"versus": "blue", "method": "dsmi"}}, 422, "versus says nothing to dsmi"),
        ({"parameters": {"top_k": "x"}}, 422, "'top_k'"),
        ({"id": 3}, 422, "'id'"),
        ({"id": None}, 422, "'id'"),
        ({"more": 3}, 422, "'more'"),
        ({"model_name": "other"}, 422, "another model"),
        ({"model_name": 3}, 422, "another model"),
    ],
)
def test_oip_refuses_what_is_wrong(server, change, status, sentence) -> None:
    response = infer(server, **change)
    assert response.status_code == status, response.text
    assert sentence in response.json()["error"]


def binary(*inputs: tuple[str, bytes], size: int = 0, length: int = 0) -> dict:
    """A request of binary tensors; `size` and `length` are added to what is true."""
    tensors = [
        {"name": name, "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data) + 4 + size}} for name, data in inputs
    ]
    head = json.dumps({"inputs": tensors}).encode()
    body = head + b"".join(len(data).to_bytes(4, "little") + data for _, data in inputs)
    return {"content": body, "headers": {"Inference-Header-Content-Length": str(len(head) + length)}}


def test_oip_takes_the_file_as_a_binary_tensor(server, expected) -> None:
    file = (EXAMPLES / "scene1.png").read_bytes()
    for inputs in ((("image", file), ("question", QUESTION.encode())), (("question", QUESTION.encode()), ("image", file))):
        response = server.client.post("/v2/models/demo/infer", **binary(*inputs))
        assert response.status_code == 200, response.text
        close(response.json()["outputs"][1]["data"], expected.image_relevance)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (binary(("image", b"x"), ("question", b"is it")), 415),
        (binary(("image", b"x"), ("question", b"\xff")), 400),
        (binary(("image", b"xyz"), ("question", b"q"), size=1), 400),
        (binary(("image", b"xyz"), ("question", b"q"), size=-1), 400),
        (binary(("image", b"xyz"), ("question", b"q"), size=10**9), 400),
        (binary(("image", b"x"), length=10**6), 400),
        (binary(("image", b"x"), length=-1), 400),
        ({"content": b"{}", "headers": {"Inference-Header-Content-Length": "x"}}, 400),
        ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
    ],
)
def test_oip_refuses_binary_tensors_that_do_not_fit(server, request_, status) -> None:
    response = server.client.post("/v2/models/demo/infer", **request_)
    assert response.status_code == status, response.text
