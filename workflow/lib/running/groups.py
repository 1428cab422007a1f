"""Groups of jobs, checked once per group and not once per job of a group.

Snakemake asks for every job of a group whether the group depends on itself, and that
again for every job of the group: with the summaries of a study of 40 tasks in one group
it follows the same 200,000 edges 8,000 times, which takes longer than all the rest of
planning. To decide whether a group may start, it counts the edges within the group
again for every job that has finished. Groups are planned in dry runs and on clusters.
"""

import snakemake.api  # noqa: F401  first, for `dag` cannot be imported by itself
from snakemake.dag import DAG
from snakemake.jobs import Job

_check_groups = DAG._check_groups


def plan_by_group() -> None:
    """Let Snakemake check groups, and decide whether they may start, once per group."""
    DAG._check_groups = _check_each_once
    DAG._ready = _is_ready


def _check_each_once(dag: DAG) -> None:
    """Check that no group depends on itself, as `DAG._check_groups` does.

    Raises:
        WorkflowError: one does; Snakemake's own check says which jobs it is about.
    """
    groups = {id(group): group.jobs for group in dag._group.values()}
    if any(_depends_on_itself(jobs, dag._dependencies) for jobs in groups.values()):
        _check_groups(dag)
    # It is called whenever groups have been made.
    dag.needed_within_group = {
        job: sum(needed in jobs for needed in dag._dependencies[job])
        for jobs in groups.values()
        for job in jobs
    }


def _depends_on_itself(jobs: frozenset[Job], dependencies: dict) -> bool:
    """Return whether a path of jobs leaves a group and enters it again."""
    seen = {needed for job in jobs for needed in dependencies[job]} - jobs
    left = list(seen)
    while left:
        needed = dependencies[left.pop()].keys() - seen
        if not jobs.isdisjoint(needed):
            return True
        seen |= needed
        left += needed
    return False


def _is_ready(dag: DAG, job: Job) -> bool:
    """Return whether a job may start: all that it or its group needs is there."""
    if job not in dag._group:
        return dag._n_until_ready[job] == 0
    group, within = dag._group[job], dag.needed_within_group
    return all(dag._n_until_ready[each] == within[each] for each in group.jobs)
