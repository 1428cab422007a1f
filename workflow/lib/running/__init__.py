"""Extensions of Snakemake for running the workflow, and the reasons for them.

- `sources`: hashes of the code that a job runs. Snakemake compares only the
  modification time of a script, not the modules that it imports, so a changed method
  reruns nothing.
- `overlays`: an empty mapping in an overlay clears what the files before it say, and
  models without transfers have none. For Snakemake, an empty mapping adds nothing.
- `planning`: jobs rerun when the content of files changes. For Snakemake, a `git
  checkout` changes the modification time of every file. And Snakemake says that it is
  still planning.
- `groups`: groups of jobs are checked once each. Snakemake checks them once for every
  pair of their jobs: planning a study of 40 tasks took twice as long.
- `configurations`: errors say where the configuration was looked for. Snakemake's
  message does not say that a file given by `--configfile` is added to `config.yaml`.
- `checks`: what is to be downloaded or read is tried before the first job starts.
- `requests`: what jobs request of a cluster, as functions that Snakemake calls.
- `interrupts`: Ctrl-C before the first job ends in a line. Snakemake shows a traceback.
- `runs`: stale locks of a killed run are removed, and its jobs are terminated with it.
  Snakemake asks the user to unlock, while its jobs may continue to write.
- `endings`: the main table is printed at the end of a run, also of one that had nothing
  to do. Snakemake calls no hook then.
- `warm`: jobs are forked from one process that has imported torch and transformers.
  Snakemake starts an interpreter per job, which takes longer than most stages.
"""
