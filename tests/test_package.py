"""The package as a whole: which room imports which, what an import costs, what a wheel holds."""

import ast
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CACHES = {"__pycache__", ".mypy_cache", ".ruff_cache"}

# What each room may import of xai: these modules and all below them. Nobody below imports the root.
MAY_IMPORT = {
    "base": set(),
    "spectral": set(),
    "meter": {"xai.base"},
    "pull": {"xai.base"},
    "runtime": {"xai.base", "xai.spectral"},
    "models": {"xai.base", "xai.pull", "xai.spectral", "xai.meter", "xai.runtime"},
    "export": {"xai.base", "xai.pull", "xai.spectral", "xai.meter", "xai.runtime", "xai.models"},
    "workers": {"xai.base", "xai.runtime", "xai.models.load"},
    "bench": {"xai.base", "xai.spectral", "xai.runtime", "xai.models.load", "xai.workers"},
    "serve": {"xai.base", "xai.runtime", "xai.models.load"},
    "commands": {
        "xai.base",
        "xai.pull",
        "xai.spectral",
        "xai.meter",
        "xai.runtime",
        "xai.models",
        "xai.export",
        "xai.workers",
        "xai.bench",
        "xai.serve",
    },
}
MAY_READ_SCENES = Path("meter/demo/training")
"""The demo learns from the scenes that the benchmarks draw."""
MAY_CLOSE_A_CIRCLE = {("xai.runtime.explanation", "xai.runtime.show.save")}
"""`why.save("why.png")`, imported when it is called."""
MOST_FILES = 14
"""Of one folder: more are of more than one kind."""
ROOMS = sorted(folder.parent.name for folder in ROOT.glob("*/__init__.py") if folder.parent.name != "tests")
INNER_NAMES = {*ROOMS, "cli"}


def files_below(folder: str) -> list[Path]:
    """Every file of a folder in the root, caches aside, relative to the root."""
    found = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return sorted(path for path in found if not CACHES.intersection(path.parts) and path.suffix not in {".pyc", ".pyo"})


SOURCES = sorted(path for folder in (".", *ROOMS) for path in (ROOT / folder).glob("*.py" if folder == "." else "**/*.py"))
SOURCES = [path.relative_to(ROOT) for path in SOURCES]
TESTS = [path for path in files_below("tests") if path.suffix == ".py"]


def module_name(source: Path) -> str:
    return ".".join(("xai", *source.with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_name(source) for source in SOURCES}


def imports(source: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, wherever it stands; `from a import b` gives a.b where that is a module of xai."""
    for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = "." * level + (module or "")
                for alias in names:
                    inner = f"{base}.{alias.name}"
                    yield node.lineno, inner if inner in MODULES else base
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def offences(sources: list[Path], allowed) -> list[str]:
    """Where a module is imported for which `allowed` is false."""
    return [f"{source}:{line} imports {name}" for source in sources for line, name in imports(source) if not allowed(name)]


def is_below(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_the_rooms_below_it(room):
    assert room in MAY_IMPORT, f"say in MAY_IMPORT what the room {room} may import"

    def found(sources: list[Path], rooms: set[str]) -> list[str]:
        return offences(sources, lambda name: not is_below(name, {"xai"}) or is_below(name, rooms))

    sources = [source for source in SOURCES if source.parts[0] == room]
    training = [source for source in sources if source.is_relative_to(MAY_READ_SCENES)]
    own = MAY_IMPORT[room] | {f"xai.{room}"}
    assert not found([source for source in sources if source not in training], own)
    assert not found(training, own | {"xai.bench.data.scenes"})


def test_only_the_entry_point_imports_the_command_line():
    sources = [source for source in SOURCES if source != Path("__main__.py")]
    assert not offences(sources, lambda name: not is_below(name, {"xai.cli"}))


def test_imports_close_no_circle():
    graph: dict[str, set[str]] = {}
    for source in SOURCES:
        here = module_name(source)
        graph[here] = {name for _, name in imports(source) if name in MODULES and (here, name) not in MAY_CLOSE_A_CIRCLE}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_no_folder_holds_more_files_than_one_kind():
    folders = Counter(source.parent for source in SOURCES if source.name != "__init__.py")
    assert not {str(folder): count for folder, count in folders.items() if count > MOST_FILES}


def test_every_import_goes_through_the_package_name():
    # From the root, `import runtime` works too, and is another module object than xai.runtime; from a wheel it fails.
    assert not offences(SOURCES + TESTS, lambda name: not name.startswith(".") and not is_below(name, INNER_NAMES))


def test_cupy_is_imported_in_one_place():
    sources = [source for source in SOURCES if source != Path("spectral/arrays.py")]
    assert not offences(sources, lambda name: not is_below(name, {"cupy", "cupyx"}))


def run_python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("imported", "unwanted"),
    [
        ("xai, xai.cli", {"torch", "onnxruntime", "transformers", "matplotlib", "huggingface_hub", "urllib.request"}),
        ("xai.runtime", {"torch", "transformers"}),
        ("xai.serve.app, xai.serve.lifecycle", {"torch", "transformers", "matplotlib"}),
        ("xai.bench.data.scenes", {"torch", "transformers"}),
    ],
)
def test_import_is_light(imported, unwanted, tmp_path):
    loaded = json.loads(run_python("-c", f"import {imported}, sys, json; print(json.dumps(list(sys.modules)))", cwd=tmp_path))
    assert not unwanted.intersection(loaded)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy of what belongs to the project, so that no `build` folder of the checkout slips in or is left."""
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("building a wheel needs setuptools")
    if int(version.partition(".")[0]) < 77:
        pytest.skip(f"building a wheel needs setuptools 77 or later, not {version}")
    copy = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    for folder in (*ROOMS, "examples", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns(*CACHES))
    target = tmp_path_factory.mktemp("wheel")
    run_python("-c", "import sys, setuptools.build_meta as b; b.build_wheel(sys.argv[1])", str(target), cwd=copy)
    (built,) = target.glob("*.whl")
    return built


def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    wanted = {Path("__init__.py"), Path("__main__.py"), Path("cli.py"), Path("py.typed")}
    wanted.update(path for folder in (*ROOMS, "examples") for path in files_below(folder))
    assert names - info == {f"xai/{path.as_posix()}" for path in wanted}
    assert {name.partition("/")[2] for name in info} >= {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


def test_wheel_works_elsewhere(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    rooms = ", ".join(f"xai.{room}" for room in ROOMS)
    found = run_python("-c", f"import {rooms}; from xai.cli import main; print(xai.__file__)", cwd=tmp_path.parent, path=tmp_path)
    assert Path(found.strip()) == tmp_path / "xai" / "__init__.py"
    assert "explain" in run_python("-m", "xai", "--help", cwd=tmp_path.parent, path=tmp_path)
