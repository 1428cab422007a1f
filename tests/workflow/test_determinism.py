"""The same config and seed give the same bytes, wherever and on however many cores."""

from fnmatch import fnmatchcase

# Seconds, which no two runs share, and what is made of them.
TIMED = [
    *("logs/*", "benchmarks/*", "costs/*", "tables/costs.*", "tables/break-even.*"),
    *("figures/break-even/*", "models/*/checkpoint/training.json"),
    "models/*/checkpoint/README.md",
]


def test_one_core_elsewhere_gives_the_same_bytes(study, new_study):
    # Other tests may have run it with other settings.
    result = study.snakemake()
    assert result.returncode == 0, result.stdout + result.stderr
    result = new_study.snakemake(cores=1)
    assert result.returncode == 0, result.stdout + result.stderr
    results = new_study.result("")
    names = [
        str(file.relative_to(results)) for file in results.rglob("*") if file.is_file()
    ]
    compared = [
        name for name in names if not any(fnmatchcase(name, each) for each in TIMED)
    ]
    different = [
        name
        for name in compared
        if new_study.result(name).read_bytes() != study.result(name).read_bytes()
    ]
    assert different == []
    # All kinds of artefacts were among them.
    kinds = {name.partition("/")[0] for name in compared}
    assert kinds == {path.name for path in results.iterdir()} - {
        *("logs", "benchmarks", "costs")
    }
