#!/usr/bin/env bash
# Print the state of a Slurm job: running (or waiting), success, failed.    status.sh JOB
set -uo pipefail

answer=$(scontrol --oneliner show job "$1" 2>&1)
state=$(grep --only-matching --max-count=1 'JobState=[A-Z_]*' <<< "$answer")
if [ -z "$state" ] && grep --quiet 'Invalid job id' <<< "$answer"
then
  # The controller no longer knows the job; query the accounting database.
  state="JobState=$(sacct --allocations --noheader --parsable2 --format=State \
    --jobs="$1" 2> /dev/null | head --lines=1)"
fi

case ${state#JobState=} in
  COMPLETED) echo success ;;
  BOOT_FAIL | CANCELLED* | DEADLINE | FAILED | NODE_FAIL | OUT_OF_MEMORY | TIMEOUT) echo failed ;;
  '') if [ -n "$state" ]; then echo failed; else echo running; fi ;;  # or no answer yet
  *) echo running ;;
esac
