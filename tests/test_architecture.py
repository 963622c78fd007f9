"""The house keeps its floors, and its rooms stay small."""

import ast
from pathlib import Path

import pytest

import pytorch_lightning

ROOT = Path(pytorch_lightning.__file__).parent
FLOORS = {
    "utilities": 1,
    "accelerators": 2,
    "checkpoint": 2,
    "distributed": 2,
    "loggers": 2,
    "precision": 2,
    "profilers": 2,
    "data": 3,
    "core": 4,
    "plugins": 4,
    "strategies": 4,
    "demos": 5,
    "fabric": 5,
    "tuner": 5,
    "callbacks": 6,
    "loops": 6,
    "trainer": 8,
    "testing": 9,
}
# A ratchet: these may only become fewer, and shorter.
LONG_FILES = {"core/module.py": 680, "trainer/trainer.py": 700}
LONG_FUNCTIONS: dict[str, int] = {"trainer/trainer.py:__init__": 64}
MOST_LINES, MOST_BODY = 500, 60


def _files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def _imports(tree: ast.Module) -> list[str]:
    """Modules of the package that are imported when the file is, `TYPE_CHECKING` aside."""
    found: list[str] = []
    hidden = {
        id(node)
        for guard in ast.walk(tree)
        if isinstance(guard, ast.If) and ast.unparse(guard.test).endswith("TYPE_CHECKING")
        for node in ast.walk(guard)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in found if name.split(".")[0] == "pytorch_lightning"]


def _folder(parts: tuple[str, ...]) -> str | None:
    return parts[0] if parts and parts[0] in FLOORS else None


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    own = _folder(path.relative_to(ROOT).parts[:-1])
    if own is None:
        return  # the root hands names on, from every floor
    for name in _imports(ast.parse(path.read_text())):
        parts = tuple(name.split(".")[1:])
        other = _folder(parts)
        assert parts, f"{path.name} imports the package root"
        if other is None or other == own:
            continue
        assert FLOORS[other] < FLOORS[own], f"{own} (floor {FLOORS[own]}) imports {name}"


def test_every_folder_has_a_floor() -> None:
    folders = {p.parent.relative_to(ROOT).parts[0] for p in _files() if p.parent != ROOT}
    assert folders <= set(FLOORS), f"without a floor: {sorted(folders - set(FLOORS))}"


def test_files_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _files()
        if (lines := path.read_text().count("\n")) > MOST_LINES
    }
    assert set(long) <= set(LONG_FILES), f"too long: {long}"
    for name, lines in long.items():
        assert lines <= LONG_FILES[name], f"{name} has grown to {lines} lines"


def test_functions_stay_short() -> None:
    long = {}
    for path in _files():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
            if lines > MOST_BODY:
                long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert set(long) <= set(LONG_FUNCTIONS), f"too long: {long}"
    for name, lines in long.items():
        assert lines <= LONG_FUNCTIONS[name], f"{name} has grown to {lines} lines"


def test_the_loop_is_one_readable_file() -> None:
    tree = ast.parse((ROOT / "loops/fit.py").read_text())
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions[:2] == ["fit", "train_epoch"]
    assert not [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len((ROOT / "loops/fit.py").read_text().splitlines()) <= 300


def test_no_vague_names() -> None:
    vague = {
        "helpers",
        "helper",
        "misc",
        "common",
        "base",
        "connector",
        "manager",
        "handler",
        "utils",
    }
    assert not [path for path in _files() if path.stem in vague]
