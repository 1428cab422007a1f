"""How Snakemake is run here, and why that takes more than Snakemake alone.

- `sources`: a hash of the code that a job runs. Snakemake looks at a script's age, and
  not at what the script imports: a changed method would rerun nothing.
- `planning`: what is in files decides what runs again. To Snakemake a `git checkout`
  has changed everything.
- `groups`: groups of jobs are checked once each. Snakemake checks them once for every
  pair of their jobs: planning a study of 40 tasks took twice as long.
- `checks`: what is to be downloaded or read is tried before the first job starts.
- `requests`: what jobs ask a cluster for, as functions that Snakemake calls.
- `runs`: locks that a killed run has left are removed, and its jobs end with it.
  Snakemake asks the user to unlock, and its jobs may go on writing.
- `warm`: jobs are forked from one process that has imported torch and transformers.
  Snakemake starts an interpreter per job, which takes longer than most stages.
"""
