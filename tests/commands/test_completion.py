"""Completion by the shell: the scripts that Click writes, and what they are answered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xai.runtime.methods import METHODS


def xai(folder: Path) -> dict[str, str]:
    """An environment in which `xai` is this package's command."""
    script = folder / "bin" / "xai"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!{sys.executable}\nfrom xai.cli import main\nmain()\n")
    script.chmod(0o755)
    return os.environ | {"PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"}


def answer(tmp_path: Path, shell: str, words: str, current: str) -> str:
    asked = {"_XAI_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": current}
    done = subprocess.run(["xai"], env=xai(tmp_path) | asked, capture_output=True, text=True, check=False, timeout=60)
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize(("shell", "place"), [("bash", 3), ("zsh", 3), ("fish", "rel")])
def test_models_methods_and_files_are_offered(tmp_path, shell, place) -> None:
    def offered(words: str, current: str) -> str:
        return answer(tmp_path, shell, words, current if shell == "fish" else str(len(words.split()) - 1))

    assert "export" in offered("xai ex", "ex")
    assert "demo" in offered("xai explain --model d", "d") and "file" in offered("xai explain --model d", "d")
    found = offered("xai explain -m ro", "ro")
    assert [name for name in METHODS if name in found] == [name for name in METHODS if name.startswith("ro")]
    assert "file" in offered("xai explain sc", "sc")


def test_the_script_works_in_bash(tmp_path) -> None:
    script = (
        'eval "$(_XAI_COMPLETE=bash_source xai)"; COMP_WORDS=(xai bench per); COMP_CWORD=2; _xai_completion xai; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], env=xai(tmp_path), capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "perturb\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_script_is_one_of_its_shell(tmp_path, shell) -> None:
    environment = xai(tmp_path) | {"_XAI_COMPLETE": f"{shell}_source"}
    script = subprocess.run(["xai"], env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "_xai_completion" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n", "-c", script], check=True, timeout=60)
