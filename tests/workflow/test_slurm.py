"""A tiny study on a real Slurm: the same results, whatever becomes of its jobs."""

import re
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import yaml
from kill_loop import damage, read_artefacts
from one_node_slurm import job_field, missing, running_slurm

PROFILES = Path(__file__).parents[2] / "workflow/profiles"
# What a user sets: partition and account. This Slurm keeps no accounts, and the plugin
# would ask for one that it does not know.
SET = {
    "slurm": {"slurm_partition": "tests", "slurm_account": None},
    "slurm-generic": {"slurm_partition": "tests"},
}
# A job takes seconds here, so it is looked at often, and those that run models are put
# together as the end of the profile says.
IMPATIENT = ["--seconds-between-status-checks", "1", "--latency-wait", "5"]
IMPATIENT_PLUGIN = ["--slurm-init-seconds-before-status-checks", "1"]
GROUPS = {
    "train_model": "tokens",
    "measure_baseline": "scores",
    "attribute_nodes": "scores",
    "attribute_edges": "scores",
    "stitch_alignment": "scores",
    "stitch_edges": "scores",
    "carry_gradients": "scores",
    "fit_free_mask": "scores",
    "fit_alignment": "fits",
    "fit_edge_alignment": "fits",
    "learn_edges": "fits",
    "learn_resampled": "fits",
    "find_critical_heads": "circuits",
    "match_heads": "circuits",
    "distil_student": "fits",
    "evaluate_student": "circuits",
    "find_heads": "circuits",
    "evaluate_gold": "circuits",
    "evaluate_random": "circuits",
    "evaluate_edges": "circuits",
    "evaluate_learned": "circuits",
    "evaluate_at_sizes": "circuits",
    "evaluate_weights": "circuits",
    "evaluate_random_edges": "circuits",
    "evaluate_lifted": "circuits",
    "evaluate_aligned": "circuits",
    "evaluate_aligned_edges": "circuits",
}
GROUPED = [
    "--groups",
    *(f"{rule}={group}" for rule, group in GROUPS.items()),
    "--group-components",
    *("summaries=100", "scores=8", "fits=5", "circuits=5"),
    *("--resources", "gpu=1", "--set-resource-scopes", "gpu=local"),
]
SUBMITTED = re.compile(r"SLURM jobid (\d+) \(log: .*/slurm_logs/(\w+)|jobid '(\d+)'")


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory):
    if reason := missing():
        pytest.skip(reason)
    with ExitStack() as stack:
        try:
            stack.enter_context(running_slurm(tmp_path_factory.mktemp("slurm")))
        except (OSError, RuntimeError) as error:
            pytest.skip(f"Slurm does not start: {error}")
        yield


def run(study, profile, *arguments, on_submission=None):
    """Run a study by a profile that ships; return the exit code and what was said.

    `on_submission` gets the number of a job of Slurm's once it was submitted.
    """
    folder = study.folder / "profile"
    shutil.copytree(PROFILES / profile, folder)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    for name, value in SET[profile].items():
        settings["default-resources"][name] = value
        if value is None:
            del settings["default-resources"][name]
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    plugin = IMPATIENT_PLUGIN if profile == "slurm" else []
    options = ["--workflow-profile", "profile", *IMPATIENT, *plugin]
    said = []
    with subprocess.Popen(
        study.command(*options, *arguments),
        cwd=study.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout:
            said.append(line)
            found = SUBMITTED.search(line)
            if found and on_submission:
                on_submission(found[1] or found[3])
    return process.returncode, "".join(said)


def cancel(job):
    subprocess.run(["scancel", job], check=True)


def kill_script(job, script):
    """Kill the process of a job that runs a script, as soon as there is one."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for process in psutil.process_iter(["cmdline", "environ"]):
            variables = process.info["environ"] or {}
            runs = any(script in part for part in process.info["cmdline"] or [])
            if runs and variables.get("SLURM_JOB_ID") == job:
                process.kill()
                return
        time.sleep(0.1)
    raise TimeoutError(f"job {job} never ran {script}")


class Disturbance:
    """Cancels the first job that is submitted and kills a process of the second."""

    def __init__(self):
        self.jobs = []

    def __call__(self, job):
        self.jobs.append(job)
        if len(self.jobs) == 1:
            cancel(job)
        if len(self.jobs) == 2:
            kill_script(job, ".train_model.py")


@pytest.fixture(scope="module")
def one_task(study_in):
    """Makes the tiny study with one task: every rule, but no more jobs than needed.

    A job of Slurm's takes seconds to start, and again for every job that it has.
    """

    def make(folder):
        made = study_in(folder)
        made.config["study"].update(tasks=["ioi"], siblings=[], families={})
        return made

    return make


@pytest.fixture(scope="module")
def local(one_task, tmp_path_factory):
    """The study, finished without Slurm."""
    local = one_task(tmp_path_factory.mktemp("local"))
    result = local.snakemake()
    assert result.returncode == 0, result.stdout + result.stderr
    return local


@pytest.fixture(scope="module")
def disturbed(slurm, one_task, tmp_path_factory):
    """The study, finished on Slurm in spite of a disturbance; and that one."""
    on_slurm = one_task(tmp_path_factory.mktemp("on-slurm"))
    disturbance = Disturbance()
    code, said = run(on_slurm, "slurm", *GROUPED, on_submission=disturbance)
    assert code == 0, said
    return on_slurm, disturbance.jobs, said


def test_every_rule_of_the_tiny_study_runs_on_slurm(disturbed, new_study):
    on_slurm, _, _ = disturbed
    logs = {path.stem for path in on_slurm.result("logs").iterdir()}
    # With one task there are no families to compare over.
    planned = new_study.planned()
    over_families = {rule for rule in planned if "source_use" in rule}
    assert logs == planned.keys() - {"all"} - over_families


def test_results_are_those_of_a_local_run_to_the_byte(disturbed, local):
    on_slurm, _, _ = disturbed
    found, undisturbed = map(read_artefacts, (on_slurm.folder, local.folder))
    assert found.keys() == undisturbed.keys()
    wrong = {key: damage(key, data, undisturbed) for key, data in found.items()}
    assert {key: why for key, why in wrong.items() if why} == {}
    assert on_slurm.planned() == {}


def test_jobs_that_run_models_have_a_gpu_and_only_they(disturbed):
    _, jobs, said = disturbed
    groups = {job: name for job, name, _ in SUBMITTED.findall(said)}
    assert groups.keys() == set(jobs)
    kinds = {name.split("_")[1] for name in groups.values()}
    assert kinds == {"tokens", "scores", "fits", "circuits", "summaries"}
    for job, name in groups.items():
        runs_models = name.startswith(("group_scores", "group_fits", "group_circuits"))
        gpu = "gres:gpu:1" if runs_models else None
        assert job_field(job, "TresPerJob") == gpu, name
        # Of its many jobs as many at once as the profile has cores.
        if name.startswith("group_summaries"):
            assert job_field(job, "MinMemoryNode") == "8000M"


def test_jobs_that_are_stopped_are_tried_again_with_more(disturbed):
    _, jobs, said = disturbed
    cancelled, killed, *others = jobs
    assert job_field(cancelled, "JobState") == "CANCELLED"
    assert job_field(killed, "JobState") == "FAILED"
    assert {job_field(job, "JobState") for job in others} == {"COMPLETED"}
    assert said.count("Trying to restart") == 2
    # Those that were stopped, and what was submitted in their place.
    memory = [job_field(job, "MinMemoryNode") for job in (cancelled, killed)]
    again = [job_field(job, "MinMemoryNode") for job in others[:2]]
    # Prompts of two splits are tokenized at once.
    assert (memory, again) == (["4000M"] * 2, ["8000M"] * 2)


@pytest.fixture
def copied(local, one_task, tmp_path):
    """A copy of the finished study without the pairs and scores of its target."""
    copy = one_task(tmp_path / "copy")
    shutil.copytree(local.folder, copy.folder)
    for name in (PAIRS, SCORES):
        copy.result(name).unlink()
    return copy


PAIRS = "pairs/tiny-target/ioi/train.parquet"
SCORES = "scores/tiny-target/ioi/nap-ig-inputs.safetensors"
# What was not removed is as it should be.
REMOVED = ["--rerun-triggers", "mtime", "--", f"results/{SCORES}"]


def test_the_generic_profile_tries_again_too(copied, local):
    jobs = []

    def cancel_the_first(job):
        jobs.append(job)
        if len(jobs) == 1:
            cancel(job)

    code, said = run(copied, "slurm-generic", *REMOVED, on_submission=cancel_the_first)
    assert code == 0, said
    states = [job_field(job, "JobState") for job in jobs]
    assert states == ["CANCELLED", "COMPLETED", "COMPLETED"]
    assert [job_field(job, "TresPerNode") for job in jobs][-1] == "gres:gpu:1"
    for name in (PAIRS, SCORES):
        assert copied.result(name).read_bytes() == local.result(name).read_bytes()


def test_a_job_that_fails_shows_its_log(copied):
    copied.result(PAIRS).write_text("no parquet")
    code, said = run(copied, "slurm", "--retries", "0", *REMOVED)
    assert code != 0
    log = copied.result("logs/attribute_nodes/tiny-target/ioi/nap-ig-inputs.log")
    *_, last = log.read_text().strip().splitlines()
    assert PAIRS in log.read_text() and last in said
