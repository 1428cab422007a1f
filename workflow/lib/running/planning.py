"""What is in files decides whether a job runs again, and not how old they are.

A `git checkout`, an unpacked archive or a copy changes the age of everything. Jobs
record hashes of the code and the data that they are made from, see `sources`; what
Snakemake would go by besides is adjusted here, for every way of calling it.
"""

from snakemake.settings.enums import RerunTrigger

# Files up to this size (in bytes) that are newer than a result are compared by content.
COMPARED_BY_CONTENT = 50_000_000


def plan_by_content(workflow) -> None:
    """Adjust the settings that a run is planned by, once Snakemake has made them.

    Its trigger for code takes every script that is newer than a result for a changed
    one, and is off. The settings are made after the rules are read, when nothing of the
    workflow is called any more: hence the property.
    """

    def adjust(workflow, settings) -> None:
        if settings is not None:
            settings.rerun_triggers = settings.rerun_triggers - {RerunTrigger.CODE}
            given = settings.max_checksum_file_size
            settings.max_checksum_file_size = max(given, COMPARED_BY_CONTENT)
        vars(workflow)["dag_settings"] = settings

    def found(workflow):
        return vars(workflow).get("dag_settings")

    type(workflow).dag_settings = property(found, adjust)
