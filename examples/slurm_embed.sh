#!/bin/bash
# Embed a corpus with an array of Slurm jobs; each writes its share of the store's shards.
#
#     sbatch --array=0-15 slurm_embed.sh encoder=my/encoder data.corpus=corpus.jsonl out=store
#
# The jobs do not communicate. If jobs failed or were killed, submit the same line again, also with
# another --array=0-N: the new jobs write only the shards that are missing.
#SBATCH --job-name=embed
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
set -euo pipefail

# Number the jobs from 0, whatever range --array gives.
index=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN))
exec llm-embedder-data embed "$@" shard="$index/$SLURM_ARRAY_TASK_COUNT" trainer.devices=1
