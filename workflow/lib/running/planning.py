"""Rerun jobs when the content of files changes, not their modification time.

A `git checkout`, an unpacked archive or a copy changes all modification times. Jobs
record hashes of their code and data, see `sources`; this module adjusts Snakemake's own
triggers accordingly, however it is called.
"""

from snakemake.settings.enums import RerunTrigger

# Largest size in bytes of files that are compared by content if newer than a result.
COMPARED_BY_CONTENT = 50_000_000


def plan_by_content(workflow) -> None:
    """Adjust the settings for planning a run, as soon as Snakemake has created them.

    Snakemake's code trigger, which treats every script newer than a result as changed,
    is switched off. The settings are created after the rules are read, when no code of
    the workflow is called any more, hence the property.
    """

    def adjust(workflow, settings) -> None:
        if settings is not None:
            settings.rerun_triggers = settings.rerun_triggers - {RerunTrigger.CODE}
            given = settings.max_checksum_file_size
            settings.max_checksum_file_size = max(given, COMPARED_BY_CONTENT)
        vars(workflow)["dag_settings"] = settings

    def get(workflow):
        return vars(workflow).get("dag_settings")

    type(workflow).dag_settings = property(get, adjust)
