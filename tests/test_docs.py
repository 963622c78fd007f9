"""The pages keep their word: examples run, links lead somewhere, named tests exist."""

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

from pytorch_lightning.core.hooks import HOOKS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(<!-- not run: .+ -->\n)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
NAMED_TEST = re.compile(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`")


def relative(path):
    return str(path.relative_to(ROOT))


def blocks(page):
    """The programs of a page with their lines in it; those that are marked are left out."""
    text = page.read_text()
    return [
        (text.count("\n", 0, found.start(2)), found[2])
        for found in BLOCK.finditer(text)
        if found[1] is None
    ]


@cache
def functions(path):
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=relative)
def test_examples_run(page):
    names = {"__name__": "__main__"}
    for line, code in blocks(page):
        tree = ast.parse(code, relative(page))
        exec(compile(ast.increment_lineno(tree, line), relative(page), "exec"), names)


def test_the_example_of_the_first_page_is_short():
    (_, code), *_ = blocks(ROOT / "README.md")
    assert code.count("\n") <= 25


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page):
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_named_tests_exist(page):
    for path, name in NAMED_TEST.findall(page.read_text()):
        assert (ROOT / path).exists(), path
        assert not name or name in functions(path), f"{path}::{name}"


def test_the_generated_parts_are_those_of_the_table_and_the_traces():
    tables = load(ROOT / "docs/tables.py")
    text = (ROOT / "docs/hooks.md").read_text()
    assert tables.filled(text) == text
    assert all(f"| `{name}` |" in text for name in HOOKS)


def test_rows_of_the_compatibility_pages_are_counted(tmp_path):
    count = load(ROOT / "docs/compatibility/count.py")
    page = (
        "# Page\n| T-03 | one | yes | a |\n| D-1b | two | no | b |\n| T-04 | no | perhaps | c |\n"
    )
    (tmp_path / "first.md").write_text(page)
    (tmp_path / "second.md").write_text("| X-02 | yes | differs | no |\n")
    counts = count.count(tmp_path)
    assert counts == {"first": {"yes": 1, "no": 1}, "second": {"differs": 1}}
    assert count.table(counts).splitlines()[-1].split() == ["all", "1", "1", "1"]
