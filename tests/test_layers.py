"""The house: imports run one way, frameworks stay in the files made for them, files stay small.

``synth <- {quant, bdt, backends} <- projects``; ``quant``, ``bdt`` and ``backends`` never import
one another, and nothing imports ``tests``. Only ``synth/__init__.py`` may reach up, inside a
function or for type checkers. A new dependency needs an entry in `ALLOWED`, a framework one in
pyproject's TID251 too.
"""

import ast
import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ARROWS: dict[str, set[str]] = {
    "synth": set(),
    "quant": {"synth"},
    "bdt": {"synth"},
    "backends": {"synth"},
    "projects": {"synth", "quant", "bdt", "backends"},
}
REACHES_UP_LAZILY = "synth/__init__.py"

# Every third-party module that the packages may import, and the files that may.
ALLOWED: dict[str, tuple[str, ...]] = {
    "numpy": ("*",),
    "awkward": ("quant/data/root_files.py",),
    "mpmath": ("bdt/**", "quant/**", "synth/**"),
    "brevitas": ("synth/live/brevitas.py",),
    "google.protobuf": ("backends/qonnx/**", "synth/onnx/**"),
    "jinja2": ("backends/**",),
    "keras": ("quant/callbacks/keras.py", "quant/data/keras.py", "synth/live/keras.py"),
    "matplotlib": ("quant/allocate/plot.py",),
    "onnx": ("backends/qonnx/**", "synth/onnx/**"),
    "rich": ("projects/**",),
    "lightning": ("quant/callbacks/lightning.py",),
    "torch": (
        *("quant/callbacks/torch.py", "quant/data/torch.py", "quant/layers/torch.py"),
        *("synth/live/brevitas.py", "synth/live/torch.py"),
    ),
    "tf_keras": ("quant/callbacks/keras.py",),
    "threadpoolctl": ("synth/evaluate.py",),
    "typer": ("projects/**",),
    "uproot": ("quant/data/root_files.py",),
    "xgboost": ("quant/callbacks/xgboost*.py", "quant/data/xgboost.py"),
}
NOT_BANNED_BY_RUFF = {"numpy", "mpmath", "threadpoolctl"}
# Only `projects` runs processes, loads libraries and makes temporary files, with one exception: a
# live CatBoost model gives its trees to a named file only.
SAVES_TO_A_FILE = ("bdt/load/catboost.py", "tempfile")
RUNNERS = {"ctypes", "multiprocessing", "shutil", "subprocess", "tempfile"}

LONGEST_FILE = 600
SOURCE_SUFFIXES = {".c", ".cc", ".cpp", ".cu", ".h", ".hpp", ".j2", ".py", ".sh", ".tcl", ".v"}


def files(*folders: str) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def where(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def modules() -> list[Path]:
    return [path for path in files(*ARROWS) if path.suffix == ".py"]


def imported_by(node: ast.AST) -> list[str]:
    """Return the dotted names that a statement or call imports; relative ones begin with a dot."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            base = "." * level + (module or "")
            return [base if alias.name == "*" else f"{base}.{alias.name}" for alias in names]
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__")
            | ast.Attribute(attr="import_module" | "__import__"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return [name]
        case _:
            return []


def imports(tree: ast.AST, *, lazy: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Yield the name, the line and whether it stands inside a function, of each import."""
    for node in ast.iter_child_nodes(tree):
        for name in imported_by(node):
            yield name, getattr(node, "lineno", 0), lazy
        yield from imports(node, lazy=lazy or deferred(node))


def deferred(node: ast.AST) -> bool:
    """Say whether what stands inside runs later than the module, or for type checkers only."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=[]):
            return True
        case _:
            return False


def third_party(name: str) -> str:
    """Return the entry of `ALLOWED` that a name falls under, or its first part."""
    entries = [entry for entry in ALLOWED if f"{name}.".startswith(f"{entry}.")]
    return max(entries, key=len, default=name.partition(".")[0])


def objection(path: str, name: str, *, lazy: bool) -> str | None:
    """Return what is wrong with the import of `name` in the file `path`, if anything."""
    package, top = path.partition("/")[0], name.partition(".")[0]
    if not top:
        return "is relative"
    if top in ARROWS:
        permitted = ARROWS[package] | {package}
        if top in permitted or (path == REACHES_UP_LAZILY and lazy):
            return None
        return f"goes against the arrows: {package} may import {sorted(permitted)}"
    if top == "tests":
        return "is of the tests, which are never installed"
    if top in RUNNERS and package != "projects" and (path, top) != SAVES_TO_A_FILE:
        return "runs things, which only projects does"
    if top in sys.stdlib_module_names:
        return None
    if any(fnmatch(path, pattern) for pattern in ALLOWED.get(third_party(name), ())):
        return None
    return "is a third-party module that has no place in this file"


def findings(path: str, source: str) -> list[str]:
    """Return one line for each import in `source` that breaks a rule of the house."""
    return [
        f"{path}:{line}: {name} {wrong}"
        for name, line, lazy in imports(ast.parse(source))
        if (wrong := objection(path, name, lazy=lazy))
    ]


def test_imports_follow_the_arrows() -> None:
    found = [line for path in modules() for line in findings(where(path), path.read_text("utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("synth/ir/graph.py", "import quant", "goes against the arrows"),
        ("synth/ir/graph.py", "def f():\n    import projects.cli", "goes against the arrows"),
        ("synth/__init__.py", "from projects import convert", "goes against the arrows"),
        ("synth/ir/graph.py", "if TYPE_CHECKING:\n    import quant", "goes against the arrows"),
        ("quant/ranges.py", "from backends.base import Plan", "goes against the arrows"),
        ("bdt/lower.py", "import quant.precision as p", "goes against the arrows"),
        ("backends/base.py", "import importlib as i\ni.import_module('bdt.lower')", "arrows"),
        ("quant/ranges.py", "from . import precision", "is relative"),
        ("projects/cli.py", "from tests.models import m", "is of the tests"),
        ("synth/ir/graph.py", "import onnx", "has no place"),
        ("synth/passes/fold.py", "from onnx import helper", "has no place"),
        ("synth/onnx_like.py", "import onnx", "has no place"),
        ("synth/ir/graph.py", "from google.protobuf import message", "has no place"),
        ("synth/onnx/reader.py", "import google.cloud", "has no place"),
        ("projects/csim.py", "import hls4ml", "has no place"),
        ("synth/fixed.py", "if True:\n    import scipy.special", "has no place"),
        ("quant/calibrate.py", "import subprocess", "runs things"),
        ("bdt/load/xgboost.py", "import tempfile", "runs things"),
        ("bdt/load/catboost.py", "import subprocess", "runs things"),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str, wrong: str) -> None:
    assert [wrong in line for line in findings(path, source)] == [True]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("synth/__init__.py", "def __getattr__(name):\n    import projects.convert"),
        ("synth/__init__.py", "if TYPE_CHECKING:\n    from projects.convert import convert"),
        ("synth/onnx/ops/conv.py", "from onnx import numpy_helper\nimport google.protobuf"),
        ("quant/ranges.py", "import numpy as np\nfrom quant import x\nfrom synth.ir import y"),
        ("projects/csim.py", "import ctypes, subprocess\nfrom backends.base import Plan"),
        ("bdt/load/catboost.py", "import tempfile"),
    ],
)
def test_a_right_import_passes(path: str, source: str) -> None:
    assert findings(path, source) == []


def test_ruff_bans_the_same_modules_in_the_same_files() -> None:
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    banned = set(ruff["flake8-tidy-imports"]["banned-api"])
    assert set(ALLOWED) - banned == NOT_BANNED_BY_RUFF
    exempt = {glob for glob, rules in ruff["per-file-ignores"].items() if "TID251" in rules}
    made_for = {glob for name in banned & set(ALLOWED) for glob in ALLOWED[name]}
    assert exempt == made_for | {"scripts/**", "tests/**"}


def test_importing_synth_loads_nothing_heavy() -> None:
    code = "import sys; old = set(sys.modules); import synth; print(*set(sys.modules) - old)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "synth" in loaded
    # NumPy's compiled parts register helper modules of Cython under names of their own.
    ours = {name for name in loaded if not name.startswith("_") and name != "cython_runtime"}
    assert ours - set(sys.stdlib_module_names) <= {"synth", "numpy"}


def public_modules() -> list[str]:
    return [
        where(path)
        for path in modules()
        if path.name == "__init__.py" or not path.name.startswith("_")
    ]


def exported(tree: ast.Module) -> list[str] | None:
    """Return the literal value of a module's ``__all__``, or None where there is none."""
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=value)
                | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value)
            ):
                return list(ast.literal_eval(value))
    return None


def defined(tree: ast.Module) -> list[str]:
    """Return the public functions and classes that a module defines."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return [n.name for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]


def in_order(names: list[str]) -> list[str]:
    """Sort as ruff's RUF022 does: constants, then classes, then the rest."""

    def kind(name: str) -> int:
        if name.isupper():
            return 0
        return 1 if name[0].isupper() else 2

    return sorted(names, key=lambda name: (kind(name), name))


@pytest.mark.parametrize("path", public_modules())
def test_all_is_complete_and_resolves(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    names = exported(tree)
    if names is None:
        assert defined(tree) == [], f"{path} defines public names and has no __all__"
        return
    assert names == in_order(names)
    assert len(names) == len(set(names))
    dotted = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    module = importlib.import_module(dotted)
    assert [name for name in names if not hasattr(module, name)] == []


def test_no_file_holds_two_ideas() -> None:
    long = [
        f"{where(path)}: {count} lines"
        for path in files(*ARROWS, "tests", "scripts")
        if path.suffix in SOURCE_SUFFIXES
        if (count := len(path.read_text("utf-8").splitlines())) > LONGEST_FILE
    ]
    assert not long, "\n".join(long)
