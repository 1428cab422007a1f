"""Where the configuration of a run was read, and what is said about it.

Snakemake reads `config.yaml` in the working directory and adds the files given by
`--configfile`; in a run from another folder, `config.yaml` is easily missing.
"""

from collections.abc import Sequence
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from circuit_transfer.study.configuration import check_configuration, sorted_keys

DEFAULT = "config.yaml"


def check_and_sort(config: dict, workflow, home: Path) -> None:
    """Check a configuration, fill in its defaults and sort its keys, in place.

    In place, for Snakemake hands this very object to its jobs.

    Args:
        config: what the files say together, or what another workflow gives.
        workflow: that is being read.
        home: the folder of the Snakefile.

    Raises:
        WorkflowError: the configuration is wrong, or was not found.
    """
    try:
        check_configuration(config, workflow.configfiles, home)
    except (ValueError, OSError) as error:
        # The message alone, without the code that it came through.
        message = "\n".join([str(error), *_where_read(workflow, home)])
        raise WorkflowError(message) from None
    ordered = sorted_keys(config)
    config.clear()
    config.update(ordered)


def log_where_read(workflow, home: Path, at_home: Sequence[str]) -> None:
    """Log what was not in the working directory, once a run.

    Args:
        workflow: that is being read.
        home: the folder of the Snakefile.
        at_home: paths of the configuration that were found there.
    """
    if not workflow.is_main_process:
        return
    if _lacks_default(workflow) and not _is_given(workflow, home / DEFAULT):
        logger.info(
            f"There is no {Path.cwd() / DEFAULT}: settings that the files given by "
            "--configfile lack have the defaults of the schema."
        )
    if at_home:
        logger.info(f"Not in {Path.cwd()}, read from {home}: {', '.join(at_home)}")


def _lacks_default(workflow) -> bool:
    return not workflow.modifier.skip_configfile and not Path(DEFAULT).exists()


def _is_given(workflow, file: Path) -> bool:
    return file.resolve() in [Path(each).resolve() for each in workflow.configfiles]


def _where_read(workflow, home: Path) -> list[str]:
    """Return what an error of the configuration should also say."""
    default = home / DEFAULT
    if workflow.modifier.skip_configfile:
        return [
            f"This is the `config` of the module {workflow.modifier.namespace!r}, "
            f"which must be a whole configuration: {default} is not added to it."
        ]
    if not _lacks_default(workflow) or _is_given(workflow, default):
        return []
    return [
        f"There is no {DEFAULT} in the working directory ({Path.cwd() / DEFAULT}). "
        "A file given by --configfile adds to it, and is not complete without it.",
        f"Copy {default} there, run with `--directory {home}`, or name it before "
        f"your own file: `--configfile {default} my.yaml`.",
    ]
