"""Put the files of a configuration together by the rules of this workflow."""

from snakemake.common.configfile import load_configfile

from circuit_transfer.study.configuration import overlaid


def apply_overlays(workflow) -> None:
    """Merge `config.yaml`, the files and the values of the command line, in this order.

    Snakemake has merged them already, but to it an empty mapping adds nothing. In
    place, since it hands this very object to its jobs. The configuration that another
    workflow gives to this one as its module stays as it is.
    """
    if workflow.modifier.skip_configfile:
        return
    settings = workflow.config_settings
    overlays = list(settings.configfiles)
    replaced = settings.replace_workflow_config
    own = [] if replaced else workflow.configfiles[len(overlays) :]
    layers = [load_configfile(file) for file in [*own, *overlays]]
    merged = overlaid([*layers, settings.config])
    workflow.config.clear()
    workflow.config.update(merged)
