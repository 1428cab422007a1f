"""The same config and seed give the same bytes, wherever and on however many cores."""

from kill_loop import damage, read_artefacts


def test_one_core_elsewhere_gives_the_same_bytes(new_study, undisturbed):
    result = new_study.snakemake(cores=1)
    assert result.returncode == 0, result.stdout + result.stderr
    found = read_artefacts(new_study.folder)
    assert found.keys() == undisturbed.keys()
    wrong = {key: damage(key, data, undisturbed) for key, data in found.items()}
    assert {key: why for key, why in wrong.items() if why} == {}
    # All kinds of artefacts were among them.
    kinds = {path.name for path in new_study.result("").iterdir()}
    assert {key.partition("/")[0] for key in found} == kinds - {"logs", "benchmarks"}
