"""Which files every job of a run opened, told by the operating system.

An audit hook of Python does not see what its extensions open: tokenizers, safetensors
and polars read files themselves. So the run is traced by `strace`.
"""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

STRACE = ["strace", "-ff", "--seccomp-bpf", "-qq", "-y", "-s", "4096"]
STRACE += ["--signal=none", "-e", "trace=open,openat,clone,clone3,fork,vfork"]
# Such as `openat(AT_FDCWD</folder>, "a", O_RDONLY|O_CLOEXEC) = 3</folder/a>`.
OPENED = re.compile(r'^open[^"\n]*"[^"\n]*", (O_\S+?)(?:, \d+)?\) += \d+<(.*)>$', re.M)
STARTED = re.compile(r"^(?:clone3?|v?fork)\(.*\) += (\d+)", re.M)
SCRIPT = re.compile(r".*/\.snakemake/scripts/tmp\w+\.(\w+)\.py")


def can_trace() -> bool:
    """Return whether there is an strace here that may trace."""
    if shutil.which("strace") is None:
        return False
    probe = subprocess.run([*STRACE, "-o", "/dev/null", "true"], capture_output=True)
    return probe.returncode == 0


def tracing(folder: Path) -> list[str]:
    """Return what to put before a command, to trace it into files of a folder."""
    return [*STRACE, "-o", str(folder / "thread")]


def read_by(folder: Path) -> set[Path]:
    """Return the files that a traced command opened to read, in all its processes."""
    return set().union(*(_Thread(file).read for file in folder.iterdir()))


def read_by_jobs(folder: Path) -> dict[str, set[Path]]:
    """Return the files that every job of a traced run opened to read, by its log."""
    threads = {file.suffix[1:]: _Thread(file) for file in folder.iterdir()}
    parents = {
        child: parent for parent in threads for child in threads[parent].children
    }
    jobs: dict[str, set[Path]] = {}
    logs: dict[str, str] = {}
    for name, thread in threads.items():
        job = name
        while job in parents and not threads[job].runs_script:
            job = parents[job]
        if threads[job].runs_script:
            jobs.setdefault(job, set()).update(thread.read)
            for log in (path for path in thread.written if path.suffix == ".log"):
                logs[job] = str(log)
    return {logs[job]: files for job, files in jobs.items()}


def declared_by_jobs(study: Path) -> dict[str, set[Path]]:
    """Return the inputs, outputs and logs that Snakemake recorded of jobs, by log."""
    declared: dict[str, set[Path]] = {}
    folder = study / ".snakemake/metadata"
    for file in (file for file in folder.rglob("*") if file.is_file()):
        record = json.loads(file.read_text())
        # The path of an output is the name, which is cut where it is long.
        name = "".join(part.lstrip("@") for part in file.relative_to(folder).parts)
        output = base64.b64decode(name).decode()
        log = str(study / record["log"][0])
        paths = {study / path for path in [output, log, *record["input"]]}
        declared.setdefault(log, set()).update(paths)
    return declared


class _Thread:
    """What one thread of a traced command did."""

    def __init__(self, file: Path):
        text = file.read_text()
        self.children = STARTED.findall(text)
        opened = [(flags, Path(path)) for flags, path in OPENED.findall(text)]
        self.written = {path for flags, path in opened if "O_RDONLY" not in flags}
        self.read = {
            path
            for flags, path in opened
            if "O_RDONLY" in flags and "O_DIRECTORY" not in flags
        }
        self.runs_script = any(SCRIPT.fullmatch(str(path)) for path in self.read)
