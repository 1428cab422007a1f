"""A Slurm of one node on loopback, with pretend GPUs, that lasts as long as a test.

Needs Debian's `slurm-wlm` and `munge` and the right to write `/etc/slurm/slurm.conf`:
the executor plugin hides `SLURM_CONF` from the commands inside of a job, so the file
must lie where Slurm looks for it. What lay there before is put back.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ETC = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
# Devices that every Linux has, and that a job may open without harm.
PRETEND_GPUS = ("/dev/zero", "/dev/full")
SECONDS_TO_START = 30

# Daemons that neither need systemd, cgroups nor a database, and listen on loopback.
CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
GresTypes=gpu
# It has as many processors and as much memory as is said below, on any machine.
SlurmdParameters=config_overrides
MinJobAge=3600
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=100000 Gres=gpu:{gpus} \
State=UNKNOWN
PartitionName=tests Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Say what is missing for a Slurm on this machine, if anything is."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"{', '.join(absent)} not found: apt install slurm-wlm munge"
    if not os.access(ETC.parent, os.W_OK):
        return f"{ETC.parent} cannot be written"
    return None


@contextmanager
def running_slurm(folder: Path) -> Iterator[None]:
    """Run Slurm's daemons, with everything of theirs in a folder.

    Raises:
        OSError: a file cannot be written, or a daemon not be started.
        RuntimeError: the node does not come up; what the daemons say is in the message.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    (folder / "gres.conf").write_text(f"Name=gpu File={','.join(PRETEND_GPUS)}\n")
    (folder / "slurm.conf").write_text(_configuration(folder))
    with ExitStack() as stack:
        stack.enter_context(_configured(folder / "slurm.conf"))
        munged = ["munged", "--foreground", "--force", f"--key-file={key}"]
        munged += [
            f"--{name}={folder}/munge.{end}"
            for name, end in [
                ("socket", "socket"),
                ("pid-file", "pid"),
                ("log-file", "log"),
                ("seed-file", "seed"),
            ]
        ]
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
            stack.enter_context(_daemon(command, folder))
        _wait_until_idle(folder)
        yield


def job_field(job: str, name: str) -> str | None:
    """Return what Slurm says of a job under a name, if it does."""
    told = subprocess.run(
        ["scontrol", "--oneliner", "show", "job", job],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    fields = dict(field.split("=", 1) for field in told.split() if "=" in field)
    return fields.get(name)


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _configuration(folder: Path) -> str:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        controller_port, node_port = (each.getsockname()[1] for each in sockets)
    return CONFIGURATION.format(
        folder=folder,
        host=socket.gethostname().split(".")[0],
        user=os.environ.get("USER") or "root",
        controller_port=controller_port,
        node_port=node_port,
        gpus=len(PRETEND_GPUS),
    )


@contextmanager
def _configured(path: Path) -> Iterator[None]:
    """Let Slurm find a configuration, and afterwards the one that it had before."""
    aside = ETC.with_name("slurm.conf.before-tests")
    # A run that was killed leaves its own there, and aside what it had found.
    own = ETC.exists() and CONFIGURATION.splitlines()[0] in ETC.read_text()
    if os.path.lexists(ETC) and not own:
        ETC.rename(aside)
    ETC.unlink(missing_ok=True)
    ETC.symlink_to(path)
    try:
        yield
    finally:
        ETC.unlink()
        if os.path.lexists(aside):
            aside.rename(ETC)


@contextmanager
def _daemon(command: list[str], folder: Path) -> Iterator[None]:
    name = command[0]
    # `gres.conf` is looked for beside the file that this names.
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    with open(folder / f"{name}.out", "wb") as output:
        process = subprocess.Popen(
            [shutil.which(name, path=_path()), *command[1:]],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_idle(folder: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        state = subprocess.run(
            ["sinfo", "--noheader", "--format=%t"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        if state == "idle":
            return
        time.sleep(0.2)
    told = [f"{path.name}:\n{path.read_text()}" for path in sorted(folder.glob("*.o*"))]
    raise RuntimeError("\n".join(["the node does not come up", *told]))
