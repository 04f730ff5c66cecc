#!/bin/bash
# One run of the perturbation test as a job array: a shard a task, then one job that joins them.
#
#     bash examples/slurm/perturb.sh 16 results --data /shared/vqa2 --model /shared/meter
#
# begins 16 tasks; each writes results.parts/shard-I, a second time with --resume where it is requeued or submitted again. The job that joins
# begins when all have ended well. Nodes must see the folder, the data and the model under the same names. More options of sbatch
# (time, partition, --gres=gpu:1, --requeue) go into SBATCH_OPTIONS; the tasks' own into the arguments.
set -euo pipefail

count=$1 output=$2
shift 2

if [ -z "${XAI_ARRAY_STEP:-}" ]; then
    mkdir -p "$output.parts"
    array=$(XAI_ARRAY_STEP=shard sbatch --parsable --export=ALL --array="1-$count" --job-name=xai-perturb \
        --output="$output.parts/shard-%a.log" --open-mode=append ${SBATCH_OPTIONS:-} "$0" "$count" "$output" "$@")
    XAI_ARRAY_STEP=merge sbatch --parsable --export=ALL --dependency="afterok:$array" --job-name=xai-merge \
        --output="$output.parts/merge.log" ${SBATCH_OPTIONS:-} "$0" "$count" "$output"
elif [ "$XAI_ARRAY_STEP" = shard ]; then
    # All of the task's cores in one process: with more of them, add --workers auto.
    exec xai bench perturb "$@" --shard "$SLURM_ARRAY_TASK_ID/$count" --resume -o "$output.parts/shard-$SLURM_ARRAY_TASK_ID" --quiet
else
    parts=()
    for number in $(seq "$count"); do parts+=("$output.parts/shard-$number"); done
    exec xai bench merge "${parts[@]}" -o "$output"
fi
