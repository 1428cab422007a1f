import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "workflow/lib"
SCRIPTS = ROOT / "workflow/scripts"
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
# Where the name to import is not the name to install.
PACKAGES = {"yaml": "pyyaml", "huggingface_hub": "huggingface-hub"}


def project_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # Stages in an environment of their own read GGUF files; elsewhere it is an extra.
    pins = [*project["dependencies"], *project["optional-dependencies"]["gguf"]]
    return dict(pin.split("==") for pin in pins)


def environment_pins(path):
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
    return dict(pin.split("==") for pin in pip)


def imported_modules(nodes):
    """Yield the dotted names that import statements among some syntax nodes name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def foreign(modules):
    """Return the packages among some modules that must be installed."""
    roots = {module.split(".")[0] for module in modules}
    roots -= sys.stdlib_module_names | {"circuit_transfer", "running"}
    return {PACKAGES.get(root, root) for root in roots}


def loaded_modules(path, seen):
    """Add to `seen` all modules that a file loads, through the library's own too."""
    for module in imported_modules(ast.parse(path.read_text()).body):
        if module in seen:
            continue
        seen.add(module)
        inside = LIBRARY.joinpath(*module.split("."))
        for file in (inside.with_suffix(".py"), inside / "__init__.py"):
            if file.is_file():
                loaded_modules(file, seen)


def rules():
    """Yield the script and the environment of every rule that has both."""
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for rule in re.split(r"^(?:rule|checkpoint) ", path.read_text(), flags=re.M):
            script = re.search(r'^\s+script:\s+"(.+)"', rule, flags=re.M)
            conda = re.search(r'^\s+conda:\s+"(.+)"', rule, flags=re.M)
            if script and conda:
                yield Path(script[1]).name, Path(conda[1]).name


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_environment_has_the_versions_of_the_project(path):
    project = project_pins()
    for package, version in environment_pins(path).items():
        assert project[package] == version, package


def test_everything_that_the_code_imports_is_pinned():
    files = [*LIBRARY.rglob("*.py"), *SCRIPTS.glob("*.py")]
    trees = [ast.parse(path.read_text()) for path in files]
    modules = {module for tree in trees for module in imported_modules(ast.walk(tree))}
    assert foreign(modules) <= set(project_pins())


@pytest.mark.parametrize(("script", "environment"), list(rules()))
def test_environment_of_a_rule_has_what_its_script_loads(script, environment):
    seen = set()
    loaded_modules(SCRIPTS / script, seen)
    assert foreign(seen) <= set(environment_pins(ROOT / "envs" / environment))
