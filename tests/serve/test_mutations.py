"""Requests that were damaged in every way: none breaks the server, none makes it grow, and the next good one is answered."""

from __future__ import annotations

import base64
import json
import random
import re
import socket
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "Is there a circle?"
PICTURES = [path.read_bytes() for path in sorted(EXAMPLES.glob("scene*.png"))]
ODD = [
    None,
    True,
    -1,
    0,
    10**30,
    1.5,
    "",
    " ",
    "x" * 5000,
    "\ud800",
    "\x00",
    [],
    {},
    [[]] * 50,
    {"b64": "x"},
    "data:,",
    "../../etc/passwd",
]
HEADERS = [
    "Content-Type: text/plain",
    "Content-Type: multipart/form-data; boundary=",
    "Content-Type: application/json; charset=utf-16",
    "Accept: image/png;q=x, */",
    "Accept: text/html",
    "Accept-Encoding: \xff",
    "X-Request-Id: " + "a" * 3000,
    "Inference-Header-Content-Length: 99999999999999999999",
    "Inference-Header-Content-Length: -1",
    "Expect: 100-continue",
    "Transfer-Encoding: chunked",
    "Content-Length: 5",
    "Content-Length: -5",
    "Range: bytes=0-1",
    "Upgrade: websocket\r\nConnection: upgrade",
    "Bad Header",
    "X: " + "y" * 40_000,
]


def damage(rng: random.Random, content: bytes) -> bytes:
    """Bytes flipped, taken out, doubled or cut off."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 3, 20])):
        if not changed:
            break
        place = rng.randrange(len(changed))
        match rng.randrange(5):
            case 0:
                changed[place] = rng.randrange(256)
            case 1:
                del changed[place : place + rng.randrange(1, 50)]
            case 2:
                changed[place:place] = changed[place : place + rng.randrange(1, 50)]
            case 3:
                del changed[place:]
            case 4:
                changed[place:place] = rng.randbytes(rng.randrange(1, 20))
    return bytes(changed)


def odd_json(rng: random.Random, value: object) -> object:
    """The value with something odd somewhere in it."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {("odd" if name == key else name): inner for name, inner in value.items()}
        return {**value, key: odd_json(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], odd_json(rng, value[place]), *value[place + 1 :]]
    return rng.choice(ODD)


def request(rng: random.Random) -> bytes:
    """One request, damaged in one way or in several."""
    picture = rng.choice(PICTURES)
    if rng.random() < 0.3:
        picture = damage(rng, picture)
    text = base64.b64encode(picture).decode()
    path = rng.choice(["/v1/explain", "/v1/answer", "/v1/models/demo:explain", "/v2/models/demo/infer", "/v1/explain"])
    content: object = {"image": text, "question": QUESTION, "method": rng.choice(["dsmi-grad", "rollout"]), "top_k": 3}
    if path == "/v1/answer":
        content = {"image": text, "question": QUESTION, "without_patches": [0, 5], "without_words": [1]}
    elif "models/demo:" in path:
        content = {"instances": [{"image": text, "question": QUESTION}] * 2}
    elif path.startswith("/v2"):
        inputs = [("image", text), ("question", QUESTION)]
        content = {"inputs": [{"name": name, "datatype": "BYTES", "shape": [1], "data": [data]} for name, data in inputs], "outputs": []}
    kind = "application/json"
    if path in ("/v1/explain", "/v1/answer") and rng.random() < 0.4:
        fields = {"question": QUESTION, "top_k": rng.choice(["3", "x", ""]), "target": rng.choice(["yes", "\xff"])}
        begin = '--b\r\nContent-Disposition: form-data; name="'
        body = "".join(f'{begin}{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()).encode()
        body += b'--b\r\nContent-Disposition: form-data; name="image"; filename="a\x00b.png"\r\n\r\n' + picture + b"\r\n--b--\r\n"
        kind = "multipart/form-data; boundary=b"
    else:
        body = json.dumps(odd_json(rng, content) if rng.random() < 0.5 else content).encode()
    if rng.random() < 0.3:
        body = damage(rng, body)
    headers = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    if rng.random() < 0.3:
        headers.insert(rng.randrange(1, len(headers) + 1), rng.choice(HEADERS))
    head = "\r\n".join(headers).encode("latin-1")
    if rng.random() < 0.1:
        head = damage(rng, head)
    return head + b"\r\n\r\n" + body


def send(rng: random.Random, host: str, port: int) -> int:
    """The status that one request came to, 0 where there was none."""
    content = request(rng)
    manner = rng.random()
    with socket.create_connection((host, port), 30) as connection:
        connection.settimeout(30)
        try:
            if manner < 0.1:  # half-sent
                connection.sendall(content[: rng.randrange(len(content))])
                return 0
            if manner < 0.15:  # hangs up while the server works
                connection.sendall(content)
                return 0
            if manner < 0.2:  # slow
                for start in range(0, len(content), len(content) // 4 + 1):
                    connection.sendall(content[start : start + len(content) // 4 + 1])
                    time.sleep(0.01)
            else:
                connection.sendall(content)
            first = connection.recv(4096)
        except (BrokenPipeError, ConnectionResetError):  # refused before it was all sent
            return 0
        match = re.match(rb"HTTP/1\.1 (\d{3}) ", first)
        return int(match[1]) if match else 0


def memory(url: str) -> float:
    line = re.search(r"^process_resident_memory_bytes (.*)$", httpx.get(f"{url}/metrics").text, flags=re.MULTILINE)
    assert line
    return float(line[1])


def mutate(url: str, count: int, seed: int) -> Counter[int]:
    host, port = url.removeprefix("http://").split(":")
    rng = random.Random(seed)
    return Counter(send(rng, host, int(port)) for _ in range(count))


def good(url: str) -> int:
    return httpx.post(f"{url}/v1/explain", files={"image": PICTURES[0]}, data={"question": QUESTION}, timeout=60).status_code


def test_damaged_requests_do_no_harm(demo, serving, until) -> None:
    with serving({"demo": demo}, deadline=1) as server:
        codes = mutate(server.url, 120, seed=0)
        assert 500 not in codes, codes
        assert {200, 400, 422} <= set(codes), codes
        until(lambda: good(server.url) == 200)
        until(lambda: server.metric('xai_in_flight{model_name="demo"}') == server.metric('xai_queue_size{model_name="demo"}') == 0)


@pytest.mark.slow
def test_two_thousand_damaged_requests_leave_memory_level(start, until) -> None:
    process, url = start("--deadline", "2", "--image-cache", "1000000")
    for seed in range(1, 4):
        mutate(url, 200, seed)  # until caches and arenas are as large as they get
    before = memory(url)
    codes = mutate(url, 2000, seed=9)
    print(codes, f"memory {before / 1e6:.0f} -> {memory(url) / 1e6:.0f} MB")
    assert 500 not in codes, codes
    assert process.poll() is None
    until(lambda: good(url) == 200)
    assert memory(url) < 1.1 * before
