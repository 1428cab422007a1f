"""Kill jobs, Snakemake, or both again and again, and compare what comes out.

    python tests/workflow/kill_loop.py --kills 20 --seed 0

runs the tiny study once undisturbed. Then it runs it again and sends signal 9 at
moments that the seed draws. While a run goes on and right after every kill, every file
under its final name must be one of the undisturbed run, byte for byte; files that tell
how long something took must be whole. After every kill the same command goes on. A
study that is finished before the last kill is begun anew.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import polars as pl
import psutil

HOME = Path(__file__).parents[2]
KINDS = ("job", "snakemake", "both")
# Not artefacts: they grow while a job runs.
NOTES = ("logs/", "benchmarks/")
# What an interrupted stage goes on from; the stage removes it in the end.
STATE = "resume"
# These tell how long something took: records and costs in fields of their own, the
# rest in what is made of those.
RECORDS = ("costs/", "models/")
SECONDS = re.compile(rb'(?<="seconds": )[0-9.e-]+|(?<=steps \()\d+')
FROM_COSTS = ("tables/costs.", "tables/break-even", "figures/break-even/")
COST_SECTION = re.compile(rb'<section id="cost">.*?</section>', re.DOTALL)
# What a whole file ends with.
ENDS = {
    ".png": b"IEND\xaeB`\x82",
    ".pdf": b"%%EOF\n",
    ".html": b"</html>\n",
    ".tex": b"\n",
    ".csv": b"\n",
}


@dataclass
class Kill:
    """One kill: what was planned, what it met, and what it left."""

    kind: str
    after_files: int
    after_seconds: float
    victims: list[str] = field(default_factory=list)
    files: int = 0
    processes_left: int = 0
    jobs_planned: int = 0


class Run:
    """A run of the study in a folder, whose output goes into a file of its own."""

    def __init__(self, command: list[str], folder: Path):
        self.folder = folder
        handle, name = tempfile.mkstemp(prefix="run-", suffix=".txt", dir=folder)
        self.output = Path(name)
        self.process = psutil.Popen(
            command,
            cwd=folder,
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(handle)
        self.members: list[psutil.Process] = []

    def ends_within(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except psutil.TimeoutExpired:
            return False
        return True

    def jobs(self) -> list[psutil.Process]:
        """List the processes that run scripts, forked ones and others."""
        return [process for process in self._family() if self._log(process)]

    def kill(self, kind: str, draw: random.Random) -> list[str]:
        """Send signal 9 to a job, to Snakemake, or to it and all that it has started.

        Returns: what was killed: logs of jobs, and `snakemake`.
        """
        self.members = self._family()
        jobs = {process: self._log(process) for process in self.members}
        running = [process for process, log in jobs.items() if log]
        if kind == "job":
            victims = [draw.choice(running)] if running else []
        else:
            victims = [self.process, *(self.members if kind == "both" else [])]
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        names = [jobs.get(victim) for victim in victims]
        return [*filter(None, names), *(["snakemake"] if kind != "job" else [])]

    def planned(self) -> int:
        """Return how many jobs Snakemake has said that it would run."""
        found = re.search(
            r"^\s*total +(\d+)\s*$", self.output.read_text(), re.MULTILINE
        )
        return int(found[1]) if found else 0

    def _family(self) -> list[psutil.Process]:
        try:
            return self.process.children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _log(self, process: psutil.Process) -> str | None:
        """Name the log that a process writes, if it is that of a job."""
        folder = self.folder / "results" / "logs"
        try:
            paths = [Path(file.path) for file in process.open_files()]
        except psutil.Error:
            return None
        logs = [path for path in paths if path.is_relative_to(folder)]
        return str(logs[0].relative_to(folder).with_suffix("")) if logs else None


def artefacts(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a study under their final names, without logs."""
    results = folder / "results"
    for place, folders, names in os.walk(results):
        folders[:] = [f for f in folders if f != STATE and not f.startswith(".")]
        for name in names:
            path = Path(place, name)
            key = str(path.relative_to(results))
            if not name.startswith(".") and not key.startswith(NOTES):
                yield key, path


def damage(key: str, data: bytes, undisturbed: dict[str, bytes]) -> str | None:
    """Tell what is wrong with the bytes of an artefact, if anything is."""
    if key not in undisturbed:
        return "not in the undisturbed run"
    if key.startswith(RECORDS):
        same = SECONDS.sub(b"", data) == SECONDS.sub(b"", undisturbed[key])
        return None if same else "not the undisturbed run's, even but for seconds"
    if key == "summary.html":
        same = COST_SECTION.sub(b"", data) == COST_SECTION.sub(b"", undisturbed[key])
        return None if same else "not the undisturbed run's, even but for the costs"
    if not key.startswith(FROM_COSTS):
        return None if data == undisturbed[key] else "not the undisturbed run's bytes"
    end = Path(key).suffix
    try:
        if end == ".parquet":
            pl.read_parquet(data)
        elif not data.endswith(ENDS[end]):
            return "not whole"
    except pl.exceptions.PolarsError as error:
        return f"not whole: {error}"
    return None


class Watcher:
    """Looks at every artefact, again whenever it has changed."""

    def __init__(self, folder: Path, undisturbed: dict[str, bytes]):
        self.folder, self.undisturbed = folder, undisturbed
        self.seen: dict[str, tuple] = {}
        self.damaged: list[str] = []
        self.looks = 0
        self._stop = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def look(self) -> int:
        """Look at what is new, and return how many artefacts there are."""
        count = 0
        for key, path in artefacts(self.folder):
            try:
                found = path.stat()
                state = (found.st_ino, found.st_size, found.st_mtime_ns)
                count += 1
                if self.seen.get(key) == state:
                    continue
                data = path.read_bytes()
            except FileNotFoundError:  # Snakemake removes what is to be made again
                continue
            self.seen[key] = state
            self.looks += 1
            wrong = damage(key, data, self.undisturbed)
            if wrong:
                self.damaged.append(f"{key}: {wrong} ({len(data)} bytes)")
        return count

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.look()


def draw_kills(count: int, seed: int, files: int) -> list[Kill]:
    """Draw the kinds and moments of so many kills, in a study of so many files."""
    draw = random.Random(seed)
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    draw.shuffle(kinds)
    most = 1.5 * files / count
    return [Kill(kind, int(draw.uniform(0, most)), draw.random()) for kind in kinds]


class Loop:
    """The study in a folder, and in a new one whenever it is finished."""

    def __init__(self, command: list[str], folder: Path, undisturbed: dict[str, bytes]):
        self.command, self.folder, self.undisturbed = command, folder, undisturbed
        self.rounds = 0
        self.looks = 0
        self.damaged: list[str] = []

    def run(self, kills: list[Kill], seed: int) -> None:
        """Kill as planned, then let the same command finish the study.

        Raises:
            RuntimeError: a run failed although nothing of it was killed, or what it
                ended in is not what the undisturbed run ended in.
        """
        draw, left = random.Random(seed), list(kills)
        while left or not self.rounds:
            self.rounds += 1
            place = self.folder / f"round-{self.rounds}"
            place.mkdir()
            with Watcher(place, self.undisturbed) as watcher:
                self._round(place, left, watcher, draw)
                watcher.look()
            self.looks += watcher.looks
            self.damaged += watcher.damaged
            missing = self.undisturbed.keys() - watcher.seen.keys()
            if missing:
                raise RuntimeError(f"{place} has no {sorted(missing)}")

    def _round(
        self, place: Path, left: list[Kill], watcher: Watcher, draw: random.Random
    ) -> None:
        """Kill what is planned until a run succeeds."""
        before: list[Kill] = []  # kills that the next run mends
        while True:
            run, mended = Run(self.command, place), before
            before = []
            while left and (victims := self._kill(run, left[0], draw)):
                one = left.pop(0)
                one.victims, one.files = victims, watcher.look()
                before.append(one)
                if one.kind != "job":
                    _, alive = psutil.wait_procs(run.members, timeout=20)
                    one.processes_left = len(alive)
                    break
            code = run.process.wait()
            for one in mended:
                one.jobs_planned = run.planned()
            if code == 0:
                return
            if not before:
                raise RuntimeError(f"failed by itself, see {run.output}")

    def _kill(self, run: Run, planned: Kill, draw: random.Random) -> list[str]:
        """Wait for the moment, kill, and name what was killed: none, if it was over."""
        wanted = planned.after_files + sum(1 for _ in artefacts(run.folder))
        while sum(1 for _ in artefacts(run.folder)) < wanted:
            if run.ends_within(0.05):
                return []
        if run.ends_within(planned.after_seconds):
            return []
        while planned.kind == "job" and not run.jobs():
            if run.ends_within(0.01):
                return []
        return run.kill(planned.kind, draw)


def undisturbed_run(command: list[str], folder: Path) -> dict[str, bytes]:
    """Run the study and return its artefacts.

    Raises:
        RuntimeError: it does not succeed.
    """
    folder.mkdir()
    run = Run(command, folder)
    if run.process.wait():
        raise RuntimeError(f"the undisturbed run failed, see {run.output}")
    return read_artefacts(folder)


def read_artefacts(folder: Path) -> dict[str, bytes]:
    """Read every artefact of a study."""
    return {key: path.read_bytes() for key, path in artefacts(folder)}


def study_command(*more: str) -> list[str]:
    """Return the command that runs the tiny study, and goes on after a crash."""
    command = [sys.executable, "-m", "snakemake", "--directory", "."]
    command += ["--snakefile", str(HOME / "Snakefile")]
    command += ["--configfile", str(Path(__file__).with_name("tiny.yaml"))]
    command += ["--workflow-profile", str(HOME / "workflow/profiles/default")]
    return [*command, "--cores", "2", *more]


def table(kills: list[Kill]) -> str:
    """Show what was killed when, and what became of it."""
    rows = ["| kill | of | after | artefacts | processes left | jobs then planned |"]
    rows.append("|---" * 6 + "|")
    for number, one in enumerate(kills, start=1):
        victims = ", ".join(one.victims)
        when = f"{one.after_files} files and {one.after_seconds:.2f} s"
        counts = f"{one.files} | {one.processes_left} | {one.jobs_planned}"
        rows.append(f"| {number} | {one.kind}: {victims} | {when} | {counts} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-loop-"))
    undisturbed = undisturbed_run(study_command(), folder / "undisturbed")
    kills = draw_kills(arguments.kills, arguments.seed, len(undisturbed))
    loop = Loop(study_command(), folder, undisturbed)
    try:
        loop.run(kills, arguments.seed)
    finally:
        print(table(kills))
    print(f"{loop.rounds} studies finished, {len(undisturbed)} artefacts each,")
    print(f"looked at {loop.looks} times; damaged: {loop.damaged or 'none'}")
    sys.exit(bool(loop.damaged))


if __name__ == "__main__":
    main()
