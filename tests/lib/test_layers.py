"""The library is read from the bottom up: no import runs upwards."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "workflow/lib"
# Each may import those above it in this table, and itself.
ORDER = (
    "messages",
    "statistics",
    "artifacts",
    "jobs",
    "models",
    "interventions",
    "prompts",
    "generators",
    "importers",
    "circuits",
    "pruning",
    "transfer",
    "distillation",
    "embedded",
    "benchmarking",
    "tables",
    "figures",
    "summary",
    "study",
    "stages",
)
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 350, 50
FILES = sorted((LIBRARY / "circuit_transfer").rglob("*.py"))
CODE = sorted(
    each
    for folder in ("workflow/lib", "workflow/scripts")
    for each in (LIBRARY.parents[1] / folder).rglob("*.py")
)


def package(module: str) -> str:
    return module.split(".")[1]


def imported(file: Path) -> set[str]:
    """Return the packages of the library that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {package(each) for each in names if each.startswith("circuit_transfer.")}


def test_the_table_names_every_package():
    places = {each.relative_to(LIBRARY / "circuit_transfer").parts[0] for each in FILES}
    found = {name.removesuffix(".py") for name in places} - {"__init__"}
    assert found == set(ORDER)


def test_no_import_runs_upwards():
    upwards = {
        f"{file.relative_to(LIBRARY)} imports {each}"
        for file in FILES
        for own in [file.relative_to(LIBRARY / "circuit_transfer").parts[0]]
        for each in imported(file) & set(ORDER)
        if own in ORDER and ORDER.index(each) > ORDER.index(own)
    }
    assert upwards == set()


def test_no_package_has_one_file_alone():
    folders = [
        each for each in (LIBRARY / "circuit_transfer").iterdir() if each.is_dir()
    ]
    sizes = {each.name: len([*each.glob("*.py")]) - 1 for each in folders}
    sizes.pop("__pycache__", None)
    assert min(sizes.values()) > 1, sizes


@pytest.mark.parametrize("file", CODE, ids=lambda each: each.stem)
def test_files_and_functions_are_short(file):
    text = file.read_text()
    assert text.count("\n") <= MOST_LINES
    lengths = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    long = {name: n for name, n in lengths.items() if n > MOST_LINES_OF_A_FUNCTION}
    assert long == {}
