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
from torch import Tensor, nn

from circuit_transfer.circuits.prepared import Preparations
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.transfer.controls import control_sources
from circuit_transfer.transfer.maps import MAPS
from circuit_transfer.transfer.node_training import fit
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.trained_maps import Fit, Start

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
        model: as in `node_training.fit`.
        prepared: as in `node_training.fit`.
        sources: of the real maps, as in `trained_maps.Start`.
        settings: as in `node_training.fit`.
        requested: the map and the control of every fit, see `maps.fits`; the control is
            `none` for the map itself.
        shape: `(n_source, n_target)`.
        seed: as in `node_training.fit`.
        priors: by map.
        resume: as in `node_training.fit`.
    """
    trained = [each for each in requested if is_trained(each[0], sources, priors)]
    starts = [_start(each, sources, priors, seed) for each in trained]
    fitted = {}
    if starts:
        options = {"n_target": shape[1], "seed": seed, "resume": resume}
        found = fit(model, prepared, starts, settings, **options)
        fitted = dict(zip(trained, found, strict=True))
        for each, one in fitted.items():
            what = f"{'/'.join(each)}, seed {seed}", f"{shape[1]} nodes"
            warn_of_collapse(one.open_share, [*sources], *what)
    return [
        _tensors(each, fitted.get(each), sources, shape, priors) for each in requested
    ]


def is_trained(name: str, sources: Mapping, priors: Mapping) -> bool:
    """Return whether a map is trained: it has tasks, and a prior if it needs one.

    Arguments as in `fit_maps`.
    """
    known = MAPS[name].correspondence is None or priors.get(name) is not None
    return MAPS[name].trained and bool(sources) and known


def warn_of_collapse(
    shares: Tensor | None, tasks: Sequence[str], fitted: str, everything: str
) -> None:
    """Log the training tasks whose mask tells nothing apart any more.

    Args:
        shares: what the mask of every task keeps, see `trained_maps.Fit`.
        tasks: their names.
        fitted: names the map.
        everything: says how many nodes or edges there are.
    """
    if shares is None:
        return
    ends = {0: ("closed", "large"), 1: ("open", "small")}
    for task, share in zip(tasks, shares.tolist(), strict=True):
        if share in ends:
            log.warning(
                "%s: collapsed: the mask of %s ended with all %s %s, so their ranking "
                "means little; the sparsity is too %s, or the learning rate too large",
                *(fitted, task, everything),
                *ends[share],
            )


def warn_of_unknown(name: str, sources: Mapping) -> None:
    """Log why a map is not known; arguments as in `is_trained`."""
    why = "no training task has usable pairs"
    if sources:
        why = "it is not known which nodes of the models are alike"
    log.warning("%s: the map %s is written as NaN", why, name)


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
    warn_of_unknown(name, sources)
    unknown = np.full(shape, np.nan, np.float32)
    return {"alignment": unknown, "initial": unknown}
