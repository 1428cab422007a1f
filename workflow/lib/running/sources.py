"""The source files that decide what a stage computes: its script, and what it imports.

Snakemake looks at a script's age alone, which every `git checkout` changes, and not at
what the script imports. So jobs record a hash of all these files instead.
"""

import ast
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = "circuit_transfer"
FOLDER = Path(__file__).parents[1]  # of the library


def put_first() -> None:
    """Let the scripts of this run find this library before one that is installed."""
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(FOLDER), *filter(None, others)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))


@cache
def code_digest(script: Path, unused: tuple[str, ...] = ()) -> str:
    """Return a hash of the files of `source_files`."""
    return files_digest(source_files(script, unused))


def files_digest(files: Iterable[Path]) -> str:
    """Return a hash of what is in files, and of their names."""
    digest = hashlib.sha256()
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.name} {content}\n".encode())
    return digest.hexdigest()[:16]


def source_files(script: Path, unused: Collection[str] = ()) -> list[Path]:
    """Return a script and the files of its `library_modules`."""
    return [script, *sorted(filter(None, library_modules(script, unused).values()))]


def library_modules(
    script: Path, unused: Collection[str] = ()
) -> dict[str, Path | None]:
    """Return the library's modules that a script imports, however indirectly.

    Imports inside of functions count, those for type checkers alone do not.

    Args:
        script: a stage.
        unused: modules or packages of the library that the stage imports, but that do
            not decide what it computes; what only they import is left out too.

    Returns:
        Their files by name.
    """
    left_out = {f"{PACKAGE}.{name}" for name in unused}
    found, left = {}, [*_imports(script)]
    while left:
        module = left.pop()
        if module in found or module in left_out:
            continue
        package, _, _ = module.rpartition(".")
        file = _file(module)
        found[module] = file
        left += [package] if package else []
        left += _imports(file) if file else []
    return found


@cache
def _imports(file: Path) -> frozenset[str]:
    """Return the modules of the library that a file names in its imports."""
    names = set()
    for node in _run(ast.parse(file.read_bytes(), file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
            # What is imported from a package may be a module of it.
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in names if _file(name))


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a tree but those below `if TYPE_CHECKING:`."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        condition = getattr(child, "test", None)
        if getattr(condition, "id", None) != "TYPE_CHECKING":
            yield from _run(child)


def _file(module: str) -> Path | None:
    """Return the file of a module or package of the library; None for other names."""
    if module.partition(".")[0] != PACKAGE:
        return None
    place = FOLDER.joinpath(*module.split("."))
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)
