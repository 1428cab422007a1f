"""Snakemake that has been imported already, for the many tests that only plan.

A plan takes a second, and the imports of Snakemake before it another. So one process
imports it, and forks for every plan; what is forked does what `python -m snakemake`
does. Jobs are never run like this: they are started as by a user.
"""

import atexit
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NoReturn

# Nothing of this repository: a test may plan with a changed copy of it.
IMPORTED = ("snakemake.cli", "polars", "jsonschema", "yaml")


def plan(
    *arguments: str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess:
    """Run `python -m snakemake` with these arguments in a folder, and wait for it.

    `environment` is added to that of the tests.
    """
    if not {"--dry-run", "-n", "--summary"} & {*arguments}:
        raise ValueError(f"{arguments}: expected those of a plan")
    server = _server()
    with tempfile.TemporaryDirectory() as place:
        said = [str(Path(place, name)) for name in ("stdout", "stderr")]
        request = (arguments, str(folder), said, {**(environment or {})})
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        texts = [Path(path).read_text() for path in said]
    return subprocess.CompletedProcess(["snakemake", *arguments], code, *texts)


@cache
def _server() -> subprocess.Popen:
    command = [sys.executable, __file__]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = subprocess.Popen(command, text=True, **pipes)
    atexit.register(server.stdin.close)  # at which it ends
    return server


def _serve() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(*json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(
    arguments: list[str], folder: str, said: list[str], environment: dict[str, str]
) -> NoReturn:
    os.environ.update(environment)
    os.chdir(folder)
    for number, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # As `python -m` does.
    sys.argv, sys.path[0] = ["snakemake", *arguments], folder
    runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    _serve()
