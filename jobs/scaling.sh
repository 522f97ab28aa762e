#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A scaling study over numbers of nodes, on the login node (not by sbatch): one job for each number, so that no large allocation is held for
# small points, and one that merges their rows.
#     SBATCH_ACCOUNT=a SBATCH_PARTITION=p SBATCH_TIMELIMIT=60 \
#       bash jobs/scaling.sh 1,2,4,8,16,32,64,128,256,512,1024 align inputs/align.yaml --mode both --output runs/scaling
# The numbers are followed by tools/scaling's arguments; --ranks and --threads, per node, follow from its cores if not given. Points
# that exist already are not run again: after a failure or a time limit, the same command continues. The result is in the folder of
# --output: scaling.csv, scaling.png, scaling.txt with VALID or INVALID in its last line.
set -eu
numbers=${1:?numbers of nodes, e.g. 1,2,4}
shift
script=$(dirname "$0")/run.sbatch
output= previous=
for word in "$@"; do
  [ "$previous" = --output ] && output=$word
  previous=$word
done
[ -n "$output" ] || { echo "jobs/scaling.sh: --output FOLDER is missing: all jobs of the study share it" >&2; exit 2; }
jobs=
for nodes in ${numbers//,/ }; do
  id=$(sbatch --parsable --signal=B:USR1@1 --time="${SBATCH_TIMELIMIT:-60}" --job-name="scaling-$nodes" --nodes="$nodes" "$script" scaling "$@" --no-report)
  jobs=$jobs:${id%%;*}
  echo "$nodes nodes: job ${id%%;*}"
done
id=$(sbatch --parsable --signal=B:USR1@1 --time=10 --job-name=scaling-merge --nodes=1 --dependency="afterany$jobs" "$script" scaling --report "$output")
echo "merge: job ${id%%;*}, then read $output/scaling.txt"
