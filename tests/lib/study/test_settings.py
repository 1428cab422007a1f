"""Which settings a stage gets, from the configuration that ships."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from circuit_transfer.circuits.methods import node_methods
from circuit_transfer.study import settings
from circuit_transfer.study.configuration import check_configuration, sorted_keys
from circuit_transfer.transfer.objectives import FitSettings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config():
    file = ROOT / "config.yaml"
    config = yaml.safe_load(file.read_text())
    check_configuration(config, [file], ROOT)
    return config


def test_only_integrated_gradients_take_steps(config):
    steps = {
        method: settings.attribution_settings(config, method)["ig_steps"]
        for method in node_methods()
    }
    assert steps == {
        "nap": 1,
        "nap-ig-inputs": 10,
        "nap-ig-activations": 10,
        "nap-relp": 1,
        "exact": 1,
    }


def test_a_fit_gets_every_setting_that_it_takes(config):
    made = FitSettings(**settings.fit_settings(config))
    assert len(fields(made)) == len(settings.fit_settings(config))
    assert (made.epochs, made.sparsity) == (3, 2.0)


def test_a_fit_depends_on_proportions_only_where_its_objective_does(config):
    assert settings.fit_settings(config)["proportions"] == []
    config["alignment"]["objective"] = "area"
    proportions = settings.fit_settings(config)["proportions"]
    assert proportions == config["evaluation"]["proportions"]


def test_pairs_of_a_stage(config):
    pairs = settings.pairs_settings(config, "alignment")
    assert pairs == {"examples": 60, "batch_size": 6}


def test_repeated_keys_are_found_in_the_files(config, tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text("study: {}\nstudy: {}\n")
    with pytest.raises(ValueError, match="'study' is already in line 1"):
        check_configuration(config, [file], ROOT)


def test_the_order_of_keys_means_nothing_and_that_of_lists_does():
    one = {"b": [{"d": 1, "c": 2}, 0], "a": 3}
    assert str(sorted_keys(one)) == "{'a': 3, 'b': [{'c': 2, 'd': 1}, 0]}"
