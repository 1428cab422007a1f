"""Kill what runs the tiny study, and fill its disk: it ends in the same files."""

import subprocess

import pytest
from kill_loop import Loop, damage, draw_kills, read_artefacts, study_command

PAIR = "tiny-source/tiny-target"


def test_a_study_survives_kills_with_the_same_bytes(tmp_path, undisturbed):
    kills = draw_kills(4, seed=1, files=len(undisturbed))
    loop = Loop(study_command(), tmp_path, undisturbed)
    loop.run(kills, seed=1)
    assert loop.damaged == []
    assert {one.kind for one in kills} == {"job", "snakemake", "both"}
    assert [one.processes_left for one in kills] == [0, 0, 0, 0]
    assert all(one.victims for one in kills)


def test_what_is_not_whole_is_seen(undisturbed):
    whole = {key: data for key, data in undisturbed.items() if data}
    for key, data in whole.items():
        assert damage(key, data, undisturbed) is None
        assert damage(key, data[:-3], undisturbed) is not None, key


def test_a_full_disk_is_told_of_and_the_study_goes_on(new_study, undisturbed):
    results = new_study.folder / "results"
    results.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        _fill_and_go_on(new_study, undisturbed)
    finally:
        subprocess.run(["umount", str(results)], check=True)


def _fill_and_go_on(study, undisturbed: dict[str, bytes]) -> None:
    target = "results/scores/tiny-source/ioi/nap-ig-inputs.safetensors"
    arguments = ("--keep-going", "--show-failed-logs", "--", target)
    result = study.snakemake(*arguments)
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert "No space left on device: 'results/" in output
    assert "the disk is full" in output
    assert "Make room. Finished results are saved" in output
    assert "Traceback" not in output
    for key, data in read_artefacts(study.folder).items():
        assert damage(key, data, undisturbed) is None, key
    results = str(study.folder / "results")
    subprocess.run(["mount", "-o", "remount,size=64m", results], check=True)
    result = study.snakemake("--rerun-incomplete", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    for key, data in read_artefacts(study.folder).items():
        assert damage(key, data, undisturbed) is None, key
    assert (study.folder / target).is_file()
