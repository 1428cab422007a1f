"""The keys that the profiles share, and the GPU requests of the rules."""

import re
from pathlib import Path

import pytest
import yaml
from running.sources import library_modules

WORKFLOW = Path(__file__).parents[2] / "workflow"
PROFILES = ("default", "slurm", "slurm-generic")
# What loads a model to run it; `describe_model` builds one without weights.
LOADS = re.compile(r"\bload_(described|model)\b")


def profile(name):
    return yaml.safe_load((WORKFLOW / f"profiles/{name}/config.yaml").read_text())


def rules():
    """Yield every rule with a script: its name, its text, and that of its code.

    Its code is the script and what it shares with other stages.
    """
    for path in sorted((WORKFLOW / "rules").glob("*.smk")):
        for text in re.split(r"^rule ", path.read_text(), flags=re.M)[1:]:
            script = re.search(r'"\.\./scripts/(.+)"', text)
            if script:
                name = text.split(":")[0]
                yield name, text, code(WORKFLOW / "scripts" / script[1])


def code(script):
    modules = library_modules(script)
    shared = [file for name, file in modules.items() if ".stages." in name]
    return "\n".join(path.read_text() for path in (script, *shared))


@pytest.mark.parametrize(
    ("name", "text", "script"), [pytest.param(*rule, id=rule[0]) for rule in rules()]
)
def test_only_rules_that_run_a_model_request_a_gpu(name, text, script):
    asked = f'**model_resources("{name}", ' in text or "        gpu=1,\n" in text
    assert asked == (LOADS.search(script) is not None)
    # In a group its GPU would be that of all jobs of the group.
    assert not (asked and "    group:" in text)


def test_the_profiles_for_slurm_differ_in_how_they_submit():
    plugin, generic = profile("slurm"), profile("slurm-generic")
    own = {"executor", "default-resources"}
    shared = (plugin.keys() & generic.keys()) - own
    assert len(shared) > 7
    assert {key: plugin[key] for key in shared} == {key: generic[key] for key in shared}
    for key in (plugin.keys() ^ generic.keys()) - own:
        assert key.startswith(("slurm-", "cluster-generic-"))
    resources = plugin["default-resources"].items()
    assert resources <= generic["default-resources"].items()
    assert plugin["retries"] > 0


def test_a_run_continues_after_a_failure_in_every_profile():
    first, *others = map(profile, PROFILES)
    for key in ("keep-going", "rerun-incomplete", "max-checksum-file-size"):
        assert {each[key] for each in others} == {first[key]}
