"""Tries an environment that xai was installed in: `try.py ENVIRONMENT PYTHON EXTRAS IMAGE`; one line says what works.

What an extra brings must work; without it, the command must say in one line which extra is missing.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

QUESTION = "What color is the circle?"
RUN = ["bench", "perturb", "--samples", "4", "--methods", "rollout"]


def run(xai: Path, *arguments: str, lacks: str | None = None) -> str:
    """Run a command that works, or, where an extra is `lacks`, says so in one line; `works` or `says what it lacks`."""
    done = subprocess.run([xai, *arguments], capture_output=True, text=True, timeout=600, check=False)
    if lacks is None and done.returncode == 0:
        return "works"
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    if lacks is not None and done.returncode == 1 and len(errors) == 1 and re.search(rf"xai-vqa\[(.*,)?{lacks}\]", errors[0]):
        return "says what it lacks"
    return f"FAILED ({done.returncode}): {(done.stderr.strip() or done.stdout).splitlines()[-1:]}"


def serve(xai: Path) -> str:
    """Start the service, ask it whether it is ready, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([xai, "serve", "--port", str(port), "-q"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    opener, deadline, ready = urllib.request.build_opener(urllib.request.ProxyHandler({})), time.monotonic() + 120, False
    while not ready and process.poll() is None and time.monotonic() < deadline:
        try:
            ready = opener.open(f"http://127.0.0.1:{port}/readyz", timeout=5).status == 200
        except OSError:
            time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    return "works" if ready else f"FAILED ({process.returncode}): {errors.strip().splitlines()[-1:]}"


def main(environment: Path, version: str, extras: str, image: str) -> int:
    """Try every command; 1 where one fails."""
    xai, has = environment / "bin" / "xai", set(extras.split(","))
    os.environ |= {"HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found = {
            "doctor": run(xai, "doctor"),
            "explain": run(xai, "explain", image, QUESTION, "-o", f"{folder}/why.png", "--json", f"{folder}/why.json"),
            "workers": run(xai, "explain", image, image.replace("scene1", "scene2"), QUESTION, "-o", f"{folder}/out/", "--workers", "2"),
            "export": run(xai, "export", "demo", "-o", f"{folder}/bundle", lacks=None if "export" in has else "export"),
            "serve": serve(xai) if "serve" in has else run(xai, "serve", lacks="serve"),
            "easy-VQA": run(xai, *RUN, "-o", f"{folder}/easy", "--data", "easy-vqa", lacks=None if "bench" in has else "bench"),
            "ray": run(xai, *RUN, "-o", f"{folder}/ray", "--ray", lacks=None if "ray" in has else "ray"),
        }
        if shutil.which("pip", path=str(environment / "bin")):
            check = subprocess.run([environment / "bin" / "pip", "check"], capture_output=True, text=True, check=False)
            found["pip check"] = "works" if check.returncode == 0 else f"FAILED: {check.stdout.splitlines()[:2]}"
    print(f"Python {version}, {extras}: {'; '.join(f'{name} {what}' for name, what in found.items())}", flush=True)
    return int(any(what.startswith("FAILED") for what in found.values()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
