"""Two replicas on Ray Serve, one of which is killed under load: `python ray_load.py`, in a network of its own (`test_ray_serve.py`).

Prints how often each status was given, and whether what was answered is what one process answers.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import ray
from ray import serve

from xai.serve.ray import app

EXAMPLES = Path(__file__).parents[2] / "examples"
URL = "http://127.0.0.1:8000"
SECONDS = 20.0


def ask(client: httpx.Client, number: int) -> tuple[int, str]:
    """Ask one of three questions; the status, and the answer."""
    name = f"scene{number % 3 + 1}.png"
    files = {"image": (name, (EXAMPLES / name).read_bytes())}
    given = client.post("/v1/answer", files=files, data={"question": "What color is the circle?"})
    return given.status_code, f"{name}: {given.json()['answer']['text']}" if given.status_code == 200 else given.text[:200]


def replicas() -> list[dict[str, str]]:
    return [actor for actor in ray.util.list_named_actors(all_namespaces=True) if actor["name"].startswith("SERVE_REPLICA")]


def main() -> None:
    """Serve, kill, count."""
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": 8000})
    serve.run(app({"replicas": "2", "threads": "1", "page": "false"}))
    statuses, answers, broken = Counter[int](), set[str](), Counter[str]()
    end, before, killed = time.monotonic() + SECONDS, len(replicas()), threading.Event()

    def load(first: int) -> None:
        with httpx.Client(base_url=URL, timeout=60, trust_env=False) as client:
            number = first
            while time.monotonic() < end:
                try:
                    status, said = ask(client, number)
                except httpx.HTTPError as error:
                    broken[type(error).__name__] += 1
                    continue
                statuses[status] += 1
                if status == 200:
                    answers.add(said)
                elif status != 503:
                    broken[said] += 1
                number += 1

    threads = [threading.Thread(target=load, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(SECONDS / 3)
    victim = replicas()[0]
    ray.kill(ray.get_actor(victim["name"], namespace=victim["namespace"]), no_restart=False)
    killed.set()
    for thread in threads:
        thread.join()
    metrics = httpx.get(f"{URL}/metrics", trust_env=False).text
    print(
        json.dumps(
            {
                "replicas": before,
                "statuses": statuses,
                "answers": sorted(answers),
                "broken": broken,
                "metrics": "xai_requests_total" in metrics,
                "page": httpx.get(URL, trust_env=False).status_code,
            }
        )
    )
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
