"""Hash the source files that determine the result of a stage: script and imports.

Snakemake compares only the modification time of a script, which every `git checkout`
changes, and ignores the modules that it imports. So jobs record a hash of all these
files instead.
"""

import ast
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path

PACKAGE = "circuit_transfer"
FOLDER = Path(__file__).parents[1]  # that contains the library
SCRIPTS = FOLDER.parent / "scripts"  # of the stages
RULES = FOLDER.parent / "rules"
# From the word that every import has to the end of its line or list.
_IMPORT = re.compile(rb"\bimport\b(?:\s*\([^)]*\))?.*")
# Where a statement has others in it.
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def put_first() -> None:
    """Make the scripts of this run import this library before an installed one."""
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(FOLDER), *filter(None, others)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))


@cache
def code_digest(script: Path, unused: tuple[str, ...] = ()) -> str:
    """Return a hash of the files of `source_files`."""
    return files_digest(source_files(script, unused))


def script_of(rule) -> Path | None:
    """Return the script of a rule of this workflow; None for others.

    Its stem names the stage. The name of the rule does not, where another workflow
    imports the rule under its own name; that workflow's rules have other scripts.
    """
    if not rule.script:
        return None
    return stage_script(os.path.join(_folder(rule), rule.script))


def is_own(rule) -> bool:
    """Return whether a rule is one of this workflow, with or without a script."""
    return Path(_folder(rule)).resolve() == RULES.resolve()


def _folder(rule) -> str:
    """Return the folder of the file that defines a rule."""
    return rule.basedir.get_path_or_uri(secret_free=True)


@cache
def stage_script(path: str) -> Path | None:
    """Return a path without symbolic links if it is that of a stage's script."""
    script = Path(path).resolve()
    return script if script.parent == SCRIPTS.resolve() else None


def record_code(rules: Iterable) -> None:
    """Let every job record a hash of its script and of what that imports.

    Args:
        rules: of Snakemake; one that has `code` keeps it, as one without a script of
            this workflow does.
    """

    def recorded(script: Path):
        return lambda w: code_digest(script)

    for rule in rules:
        script = script_of(rule)
        if script and "code" not in rule.params.keys():  # noqa: SIM118
            rule.set_params(code=recorded(script))


def files_digest(files: Iterable[Path | str]) -> str:
    """Return a hash of the names and contents of files.

    The modification time is not enough: a restored file may be older than a result.
    """
    digest = hashlib.sha256()
    for file in map(Path, files):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.name} {content}\n".encode())
    return digest.hexdigest()[:16]


def source_files(script: Path, unused: Collection[str] = ()) -> list[Path]:
    """Return a script and the files of its `library_modules`."""
    return [script, *sorted(filter(None, library_modules(script, unused).values()))]


def library_modules(
    script: Path, unused: Collection[str] = ()
) -> dict[str, Path | None]:
    """Return the library's modules that a script imports, also indirectly.

    Imports inside functions are included, those for type checkers only are not.

    Args:
        script: script of a stage.
        unused: modules or packages of the library that the stage imports, but that do
            not affect its result; modules that only these import are excluded too.

    Returns:
        Their files by name.
    """
    excluded = {f"{PACKAGE}.{name}" for name in unused}
    found, pending = {}, [*_imports(script)]
    while pending:
        module = pending.pop()
        if module in found or module in excluded:
            continue
        package, _, _ = module.rpartition(".")
        file = _file(module)
        found[module] = file
        pending += [package] if package else []
        pending += _imports(file) if file else []
    return found


@cache
def _imports(file: Path) -> frozenset[str]:
    """Return the modules of the library that a file imports directly."""
    names = set()
    for node in _statements(_parsed(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
            # A name imported from a package may be a module.
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in names if _file(name))


def _parsed(file: Path) -> ast.AST:
    """Return the syntax tree of a file up to its last import: the rest takes longer."""
    code = file.read_bytes()
    end = max((found.end() for found in _IMPORT.finditer(code)), default=0)
    try:
        return ast.parse(code[:end], file)
    except SyntaxError:  # the word was in a text
        return ast.parse(code, file)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield a syntax tree and its statements, except those in `if TYPE_CHECKING:`.

    Expressions, most of a tree, hold no imports, and every start of a run waits for
    this.
    """
    yield tree
    for child in chain.from_iterable(getattr(tree, block, ()) for block in _BLOCKS):
        condition = getattr(child, "test", None)
        if getattr(condition, "id", None) != "TYPE_CHECKING":
            yield from _statements(child)


@cache
def _file(module: str) -> Path | None:
    """Return the file of a module or package of the library; None for other names."""
    if module.partition(".")[0] != PACKAGE:
        return None
    place = FOLDER.joinpath(*module.split("."))
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)
