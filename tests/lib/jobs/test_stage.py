"""Stages are called as Snakemake calls them, with objects of its own classes."""

import logging

import pytest
from snakemake.iocontainers import (
    InputFiles,
    Log,
    OutputFiles,
    Params,
    ResourceList,
    Snakemake,
    Wildcards,
)

from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import bind, run_stage


def named(kind, items):
    """Make a list of files or others with names, or without, as Snakemake does."""
    made = kind()
    for name, value in items if isinstance(items, list) else items.items():
        start = len(made)
        made.extend(value if isinstance(value, list) else [value])
        end = len(made) if isinstance(value, list) else None
        if name:
            made._set_name(name, start, end=end)
    return made


def job_of(inputs=(), outputs=(), wildcards=(), params=(), log="log"):
    """Make the object `snakemake` that the script of a rule called `draw` has."""
    values = Params()
    for name, value in dict(params).items():
        values.append(value)
        values._add_name(name)
    return Snakemake(
        named(InputFiles, dict(inputs)),
        named(OutputFiles, outputs if isinstance(outputs, list) else dict(outputs)),
        values,
        named(Wildcards, dict(wildcards)),
        1,
        ResourceList(),
        named(Log, [(None, str(log))]),
        {},
        "draw",
        None,
    )


def test_files_wildcards_and_params_are_bound_by_name():
    def stage(pairs_path, scores_paths, cost_path, *, task, maps, batch_size, size=3):
        pass

    job = job_of(
        inputs={"pairs": "a", "scores": ["b", "c"], "weights": ["w"]},
        outputs={"cost": "d", "log": "e"},
        wildcards={"task": "ioi", "method": "nap"},
        params={
            "maps": ["free"],
            "settings": {"batch_size": 2, "code": 0},
            "code": "1",
        },
    )
    assert bind(stage, job) == {
        "pairs_path": "a",
        "scores_paths": ["b", "c"],
        "cost_path": "d",
        "task": "ioi",
        "maps": ["free"],
        "batch_size": 2,
    }


def test_a_mapping_that_is_asked_for_is_not_opened():
    def stage(*, settings, seed):
        pass

    settings = {"seed": 5, "epochs": 2}
    bound = bind(stage, job_of(params={"settings": settings, "seed": 3}))
    assert bound == {"settings": settings, "seed": 3}


def test_a_list_of_one_file_is_one_file_or_several():
    def stage(one_path, many_paths):
        pass

    job = job_of(inputs={"one": ["a.csv"], "many": "b.csv"})
    assert bind(stage, job) == {"one_path": "a.csv", "many_paths": ["b.csv"]}


def test_files_that_are_not_there_leave_the_default():
    def stage(mask_path=None, masks_paths=("x",), *, source=None):
        pass

    assert bind(stage, job_of(inputs={"mask": [], "masks": []})) == {"masks_paths": []}
    assert bind(stage, job_of()) == {}


@pytest.mark.parametrize("kind", ["table", "figure"])
def test_an_output_without_names_is_the_tables_or_figures(kind):
    def table(table_paths):
        pass

    def figure(figure_paths):
        pass

    job = job_of(outputs=[(None, "a.csv"), (None, "a.tex")])
    stage = {"table": table, "figure": figure}[kind]
    assert bind(stage, job) == {f"{kind}_paths": ["a.csv", "a.tex"]}
    with pytest.raises(ValueError, match=rf"'{kind}_paths' .* output: other$"):
        bind(stage, job_of(outputs={"other": "a.csv"}))


def one_path(curves_path):
    pass


def one_value(*, task):
    pass


@pytest.mark.parametrize(
    ("stage", "given", "message"),
    [
        (
            one_path,
            {"inputs": {"curve": "a"}, "params": {"curves": "b"}},
            "draw: the parameter 'curves_path' of its stage is missing; "
            "there is input: curve; output: table, figure",
        ),
        (
            one_path,
            {"inputs": {"curves": "a"}, "outputs": {"curves": "b"}},
            "draw: the parameter 'curves_path' of its stage is ambiguous: "
            "'curves' is in input, output",
        ),
        (
            one_path,
            {"inputs": {"curves": ["a", "b"]}},
            "draw: the parameter 'curves_path' of its stage is one file, and "
            "'curves' are 2",
        ),
        (
            one_path,
            {"inputs": {"curves": []}, "outputs": {"cost": "a"}},
            "draw: the parameter 'curves_path' of its stage is missing; "
            "there is input: curves; output: cost",
        ),
        (
            one_value,
            {"wildcards": {"model": "m"}, "params": {"settings": {"tasks": 1}}},
            "draw: the parameter 'task' of its stage is missing; there is "
            "wildcards: model; params: settings; params.settings: tasks",
        ),
        (
            one_value,
            {"wildcards": {"task": "m"}, "params": {"task": "n"}},
            "draw: the parameter 'task' of its stage is ambiguous: "
            "'task' is in wildcards, params",
        ),
        (
            one_value,
            {"params": {"task": "n", "settings": {"task": 1}}},
            "draw: the parameter 'task' of its stage is ambiguous: "
            "'task' is in params, params.settings",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_what_there_is(stage, given, message):
    with pytest.raises(ValueError) as caught:
        bind(stage, job_of(**given))
    assert str(caught.value) == message


def test_progress_is_known_by_all_inputs_and_params(tmp_path):
    taken = []

    def stage(*, seed, resume: Resume = NO_RESUME):
        taken.append((seed, resume))

    file = tmp_path / "weights"
    file.write_text("w")
    state = str(tmp_path / "state")

    def run(**more):
        params = {"seed": 1, "state": state, "code": "c"} | more
        inputs = {"weights": [str(file)]}
        run_stage(stage, job_of(inputs=inputs, params=params, log=tmp_path / "log"))
        return taken[-1]

    seed, resume = run()
    params = {"seed": 1, "state": state, "code": "c"}
    expected = Resume.of_job(state, [file], params)
    assert (seed, resume._folder) == (1, tmp_path / "state")
    assert resume._identity == expected._identity
    # What the stage does not ask for counts, too.
    assert run(code="d")[1]._identity != expected._identity
    file.write_text("v")
    assert run()[1]._identity != expected._identity


def test_a_name_that_is_missing_is_logged_and_ends_the_job(tmp_path):
    level = logging.getLogger().level
    with pytest.raises(SystemExit, match="1"):
        run_stage(one_value, job_of(log=tmp_path / "log"))
    logging.getLogger().setLevel(level)
    assert "draw: the parameter 'task' of its stage is missing" in (
        (tmp_path / "log").read_text()
    )


@pytest.mark.parametrize(
    ("wildcards", "name"),
    [({"model": "mine", "task": "own"}, "draw mine/own"), ({}, "draw")],
)
def test_the_lines_of_a_job_begin_with_its_rule_and_wildcards(
    tmp_path, capsys, wildcards, name
):
    run_stage(lambda: None, job_of(wildcards=wildcards, log=tmp_path / "log"))
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(
        line.split(" ", 1)[1].startswith(f"{name}: ") for line in lines
    )
