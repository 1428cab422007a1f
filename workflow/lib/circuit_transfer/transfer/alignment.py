"""Alignments: matrices that map node scores of a source model to a target model.

Differentiable Faithfulness Alignment (DFA, arXiv 2604.24302, Section 3): the projected
scores `s @ W` of a task become a mask over the target's nodes, and `W` is trained so
that the masked target is as faithful as possible; see `objectives` and `training`.
Here all maps of a training set are fitted with their controls: some are trained, the
others are given by what is known of the nodes before any training.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from circuit_transfer.circuits.prepared import Preparations
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.transfer.controls import control_sources
from circuit_transfer.transfer.maps import MAPS
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.trained_maps import Fit, Start
from circuit_transfer.transfer.training import fit

log = logging.getLogger(__name__)


def fit_maps(
    model: nn.Module,
    prepared: Preparations,
    sources: Mapping[str, np.ndarray],
    settings: FitSettings,
    requested: Sequence[tuple[str, str]],
    *,
    shape: tuple[int, int],
    seed: int,
    priors: Mapping[str, np.ndarray],
    resume: Resume = NO_RESUME,
) -> list[dict[str, np.ndarray]]:
    """Fit maps and their trained controls, and return the tensors of each.

    An untrained map is its prior. Without any training task a map is NaN, and so is one
    whose prior is not known. A control has no `initial`: it starts where its map does.

    Args:
        model: as in `training.fit`.
        prepared: as in `training.fit`.
        sources: of the real maps, as in `trained_maps.Start`.
        settings: as in `training.fit`.
        requested: the map and the control of every fit, see `maps.fits`; the control is
            `none` for the map itself.
        shape: `(n_source, n_target)`.
        seed: as in `training.fit`.
        priors: by map.
        resume: as in `training.fit`.
    """
    trained = [each for each in requested if is_trained(each[0], sources, priors)]
    starts = [_start(each, sources, priors, seed) for each in trained]
    fitted = {}
    if starts:
        options = {"n_target": shape[1], "seed": seed, "resume": resume}
        found = fit(model, prepared, starts, settings, **options)
        fitted = dict(zip(trained, found, strict=True))
        for each, one in fitted.items():
            _warn_of_collapse(each, one, [*sources], f"seed {seed}")
    return [
        _tensors(each, fitted.get(each), sources, shape, priors) for each in requested
    ]


def is_trained(name: str, sources: Mapping, priors: Mapping) -> bool:
    """Return whether a map is trained: it has tasks, and a prior if it needs one.

    Arguments as in `fit_maps`.
    """
    known = MAPS[name].correspondence is None or priors.get(name) is not None
    return MAPS[name].trained and bool(sources) and known


def _warn_of_collapse(
    requested: tuple[str, str], fitted: Fit, tasks: Sequence[str], name: str
) -> None:
    """Log the training tasks whose mask tells no node from another any more."""
    if fitted.open_share is None:
        return
    ends = {0: ("closed", "large"), 1: ("open", "small")}
    for task, share in zip(tasks, fitted.open_share.tolist(), strict=True):
        if share in ends:
            log.warning(
                "%s, %s: collapsed: the mask of %s ended with all %d nodes %s, so "
                "their ranking means little; the sparsity is too %s, or the learning "
                "rate too large",
                *("/".join(requested), name, task, len(fitted.alignment.T)),
                *ends[share],
            )


def _start(
    requested: tuple[str, str],
    sources: Mapping[str, np.ndarray],
    priors: Mapping[str, np.ndarray],
    seed: int,
) -> Start:
    name, control = requested
    if control != "none":
        sources = control_sources(control, sources, seed=seed)
    return Start(sources, priors.get(name))


def _tensors(
    requested: tuple[str, str],
    fitted: Fit | None,
    sources: Mapping[str, np.ndarray],
    shape: tuple[int, int],
    priors: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Return the tensors of a map or control: trained, its prior, or unknown."""
    name, control = requested
    if fitted is not None:
        tensors = fitted.tensors()
        if control != "none":
            del tensors["initial"]
        return tensors
    prior = priors.get(name)
    if sources and prior is not None:
        return {"alignment": prior}
    why = "no training task has usable pairs"
    if sources:
        why = "it is not known which nodes of the models are alike"
    log.warning("%s: the map %s is written as NaN", why, name)
    unknown = np.full(shape, np.nan, np.float32)
    return {"alignment": unknown, "initial": unknown}
