import os

import pytest
import torch

from circuit_transfer.artifacts.tensors import write_tensors
from circuit_transfer.jobs.resume import (
    LARGE,
    NO_RESUME,
    Resume,
    State,
    optimiser_tensors,
    set_optimiser_,
)

MADE_FROM = {"settings": {"epochs": 3, "sizes": [0.1, 1.0]}}
STATE = State({"a/b": torch.tensor([0.1, 0.2]), "c": torch.ones(2, 3)}, {"done": 0.1})


def leave(folder, states=(("part", STATE),), **made_from):
    """Leave the states of some parts, as an interrupted run does."""
    resume = Resume(folder, MADE_FROM | made_from, seconds=0)
    for name, state in states:
        resume.restore(name, lambda state=state: state)
    resume.save()


def found(folder, name="part", **made_from):
    return Resume(folder, MADE_FROM | made_from).restore(name, lambda: STATE)


def same(state, expected):
    assert state.notes == expected.notes
    assert state.tensors.keys() == expected.tensors.keys()
    return all(torch.equal(state.tensors[k], v) for k, v in expected.tensors.items())


def test_every_part_comes_back_as_it_was(tmp_path):
    other = State({"c": torch.zeros(0, 4)}, {})
    leave(tmp_path / "state", [("fits/one", STATE), ("fits/two", other)])
    assert same(found(tmp_path / "state", "fits/one"), STATE)
    assert same(found(tmp_path / "state", "fits/two"), other)
    assert found(tmp_path / "state", "fits/three") is None


def test_nothing_is_written_before_its_time(tmp_path):
    early, late = Resume(tmp_path / "early"), Resume(tmp_path / "late", None, 0)
    for resume in (early, late):
        resume.restore("part", lambda: STATE)
        resume.save()
    assert [path.name for path in tmp_path.iterdir()] == ["late"]
    early.save(now=True)
    assert (tmp_path / "early").exists()


def test_the_time_between_is_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CHECKPOINT_SECONDS", "0")
    resume = Resume(tmp_path / "state")
    resume.restore("part", lambda: STATE)
    resume.save()
    assert same(Resume(tmp_path / "state").restore("part", lambda: STATE), STATE)
    monkeypatch.setenv("CHECKPOINT_SECONDS", "often")
    with pytest.raises(ValueError, match="CHECKPOINT_SECONDS is 'often', expected a n"):
        Resume(tmp_path / "state")


def test_the_state_of_other_settings_is_not_taken_up(tmp_path, caplog):
    caplog.set_level("INFO")
    leave(tmp_path)
    assert found(tmp_path, batches=[3]) is None
    assert "has other settings, inputs or code: starting from the" in caplog.text
    resume = Resume(tmp_path, MADE_FROM)
    resume.expect(batches=[3])
    assert resume.restore("part", lambda: STATE) is None
    assert found(tmp_path) is not None
    assert f"resumed from {tmp_path}" in caplog.text


def _cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def _change_a_note(path):
    text = path.read_bytes().replace(b'{\\"done\\": 0.1}', b'{\\"done\\": 0.2}')
    assert text != path.read_bytes()
    path.write_bytes(text)


DAMAGES = {
    "cut off": _cut,
    "a bit": _flip,
    "a note": _change_a_note,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("nothing at all, but long enough"),
    "other": lambda path: write_tensors(path, {}),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_is_said_and_not_taken_up(tmp_path, caplog, damage):
    leave(tmp_path)
    damage(tmp_path / "state.safetensors")
    assert found(tmp_path) is None
    assert "the saved progress is damaged, starting from the beginning" in caplog.text
    leave(tmp_path)
    assert found(tmp_path) is not None


def test_that_a_state_cannot_be_written_is_said(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    leave(tmp_path / "file" / "state")
    assert "the progress could not be saved" in caplog.text


def test_nothing_is_left_of_a_state_that_is_removed(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "scores").write_text("made")
    folder = tmp_path / "results" / "resume" / "rule" / "task"
    leave(folder)
    # What a writer leaves that is killed.
    (folder / ".state.safetensors.1234").write_text("half")
    leave(folder.with_name("other"))
    Resume(folder).remove()
    assert [path.name for path in folder.parent.iterdir()] == ["other"]
    Resume(folder.with_name("other")).remove()
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["scores"]
    Resume(folder).remove()


def test_counters_go_on_from_what_was_counted(tmp_path):
    class Counter:
        value = 0

        def restore(self, told):
            self.value = told["value"]

    def counted():
        counter, resume = Counter(), Resume(tmp_path, MADE_FROM, seconds=0)
        resume.track("cost", lambda: {"value": counter.value}, counter.restore)
        # What comes before the loop is run in every run, and counts once.
        counter.value += 10
        resume.restore("part", lambda: STATE)
        return counter, resume

    counter, resume = counted()
    for _ in range(3):
        counter.value += 1
        resume.save()
    counter.value += 1
    again, resume = counted()
    assert again.value == 13
    again.value += 5
    resume.restore_counters()
    assert again.value == 13


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert NO_RESUME.restore("part", lambda: STATE) is None
    NO_RESUME.expect(batches=[3])
    NO_RESUME.track("cost", dict, print)
    NO_RESUME.save(now=True)
    NO_RESUME.remove()
    assert not NO_RESUME._parts and not NO_RESUME._made_from
    assert not list(tmp_path.iterdir())


def test_a_job_is_known_by_its_inputs_and_settings(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_text("one")
    large.touch()
    os.truncate(large, LARGE + 1)

    def job(**settings):
        made = Resume.of_job(tmp_path / "state", [small, large], {"a": 1} | settings)
        return made._identity

    first = job()
    assert job() == first
    assert job(a=2) != first
    os.utime(small, (1, 1))
    assert job() == first
    os.utime(large, (1, 1))
    second = job()
    assert second != first
    small.write_text("two")
    assert job() != second
    small.unlink()
    with pytest.raises(FileNotFoundError, match="small"):
        job()


@pytest.mark.parametrize("fused", [True, False])
def test_an_optimiser_goes_on_as_if_nothing_had_been(tmp_path, fused):
    def begin():
        weights = torch.arange(4.0, requires_grad=True)
        return weights, torch.optim.Adam([weights], lr=0.1, fused=fused)

    def step(weights, optimiser):
        optimiser.zero_grad()
        weights.square().sum().backward()
        optimiser.step()

    whole, parts = begin(), begin()
    for _ in range(4):
        step(*whole)
    for _ in range(2):
        step(*parts)
    leave(tmp_path, [("part", State(optimiser_tensors(parts[1]), {}))])
    again = begin()
    again[0].data.copy_(parts[0])
    set_optimiser_(again[1], found(tmp_path).tensors)
    for _ in range(2):
        step(*again)
    assert torch.equal(again[0], whole[0])
    moments = again[1].state_dict()["state"][0]
    for name, moment in whole[1].state_dict()["state"][0].items():
        assert torch.equal(moments[name], moment)
        assert moments[name].shape == moment.shape
