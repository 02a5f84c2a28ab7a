#!/bin/bash
# From pairs to a better encoder: measure, mine, score, fit, measure again, export.
#
#     bash the_loop.sh                                    # the sample, on a laptop's processor
#     bash the_loop.sh trainer.max_steps=40               # settings of fit
#     TRAIN=pairs.jsonl EVAL=eval.jsonl CORPUS=corpus.jsonl ENCODER=my/encoder TEACHER=my/reranker \
#         KIND=cross-encoder bash the_loop.sh
#
# All files go to the folder OUT. If a run was stopped, start it again: steps whose files exist are
# skipped. Delete OUT to start from the beginning, and after any change of settings.
set -euo pipefail

sample=pkg://llm_embedder_data/sample/qa
EVAL=${EVAL:-$sample/eval.jsonl} CORPUS=${CORPUS:-$sample/corpus.jsonl}
ENCODER=${ENCODER:-demo}     # the encoder to train
TEACHER=${TEACHER:-$ENCODER} # the model whose scores are distilled; better a larger model, of KIND
KIND=${KIND:-bi-encoder}
DEPTH=${DEPTH:-20} # negatives for each query
OUT=${OUT:-loop}
mkdir -p "$OUT"

if [ -z "${TRAIN:-}" ]; then # the sample's pairs, without the negatives and scores that it has
    TRAIN=$OUT/pairs.jsonl
    python - "$TRAIN" <<'PYTHON'
import json
import sys
from pathlib import Path

import llm_embedder_data

sample = Path(llm_embedder_data.__file__).parent / "sample/qa/train.jsonl"
with open(sys.argv[1], "w", encoding="utf-8") as file:
    for line in open(sample, encoding="utf-8"):
        row = json.loads(line)
        pair = {name: row[name] for name in ("query", "query_id", "task", "pos", "answers")}
        file.write(json.dumps(pair) + "\n")
PYTHON
fi

pairs="path: $TRAIN"
with_negatives="$pairs, negatives: $OUT/run.tsv"
measured=("data.eval_data={loop: $EVAL}" "data.corpus=$CORPUS" "model.cutoffs=[10]")

[ -e "$OUT/before.json" ] || llm-embedder-data validate encoder="$ENCODER" "${measured[@]}" \
    metrics_file="$OUT/before.json" run_file="$OUT/before.trec" output_dir="$OUT"

[ -e "$OUT/run.positives.tsv" ] || llm-embedder-data mine encoder="$ENCODER" \
    "data.train_data={loop: {$pairs}}" "data.corpus=$CORPUS" \
    out="$OUT/run.tsv" depth="$DEPTH" html="$OUT/mined.html"

[ -e "$OUT/scores.jsonl" ] || llm-embedder-data score teacher="$TEACHER" kind="$KIND" \
    "data.train_data={loop: {$with_negatives}}" "data.corpus=$CORPUS" out="$OUT/scores.jsonl"

checkpoint=$OUT/fit/checkpoints/last.ckpt
if [ ! -e "$OUT/fit/ended" ]; then
    llm-embedder-data fit encoder="$ENCODER" \
        "data.train_data={loop: {$with_negatives, scores: $OUT/scores.jsonl}}" \
        "data.corpus=$CORPUS" data.relative_margin=0.05 data.on_no_negatives=keep \
        data.train_group_size=4 data.batch_size=16 data.layout=chunked data.unique_keys=true \
        export=false output_dir="$OUT/fit" "$@" \
        ckpt_path="$([ -e "$checkpoint" ] && echo "$checkpoint" || echo null)"
    touch "$OUT/fit/ended"
fi

[ -e "$OUT/encoder" ] || llm-embedder-data export ckpt_path="$checkpoint" out="$OUT/encoder"

# Measure the exported folder, not the checkpoint, because the folder is what others will load.
llm-embedder-data validate encoder="$OUT/encoder" "${measured[@]}" \
    metrics_file="$OUT/after.json" run_file="$OUT/after.trec" output_dir="$OUT"

python - "$OUT" <<'PYTHON'
import json
import sys
from pathlib import Path

before, after = (
    json.loads((Path(sys.argv[1]) / f"{name}.json").read_text())["loop"]["ndcg@10"]
    for name in ("before", "after")
)
print(f"nDCG@10: {before:.3f} before, {after:.3f} after ({after - before:+.3f}; one run, one seed)")
PYTHON
