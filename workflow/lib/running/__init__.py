"""How Snakemake is run here, and why that takes more than Snakemake alone.

- `sources`: a hash of the code that a job runs. Snakemake looks at a script's age, and
  not at what the script imports: a changed method would rerun nothing.
- `planning`: what is in files decides what runs again. To Snakemake a `git checkout`
  has changed everything.
- `runs`: locks that a killed run has left are removed, and its jobs end with it.
  Snakemake asks the user to unlock, and its jobs may go on writing.
- `warm`: jobs are forked from one process that has imported torch and transformers.
  Snakemake starts an interpreter per job, which takes longer than most stages.
"""
