"""Advice for the report: what to do about the findings of each check."""

from __future__ import annotations

from llm_embedder_data.inspection.doctor.results.findings import Check

ADVICE: dict[Check, str] = {
    "positive_among_negatives": "Take these negatives out; fix=FOLDER writes files without them.",
    "contamination": "Take these rows out of training, or the metrics of evaluation look better "
    "than they are; fix=FOLDER writes files without them.",
    "duplicate_rows": "Take the repeats out, unless these rows are to count more than others; "
    "fix=FOLDER writes files without them.",
    "duplicate_queries": "Put all positives of a query into one row. BiEncoder never uses a "
    "positive from another row as a negative of the same query, but other losses may.",
    "duplicate_passages": "Keep one of the copies, and let the rows name that copy. Otherwise a "
    "search that finds the other copy counts as wrong.",
    "short_texts": "Check that these texts are complete.",
    "scores_above_positive": "The teacher disagrees with the labels. Look at these rows; a policy "
    "such as data.relative_margin leaves such negatives out.",
    "instruction_in_text": "Take the instruction out of the texts and let data.recipe add it, so "
    "that no text gets it twice.",
    "truncated_positives": "The model does not see the rest of these texts. Raise "
    "data.key_max_length, or split long passages.",
    "unread_columns": "Rename these columns in the files if they are to be read.",
    "never_sampled": "No epoch uses these rows, as they fill no global batch. Lower "
    "data.batch_size, or use fewer ranks.",
    "below_global_batch": "Lower data.batch_size, or choose what becomes of small datasets: "
    "data.small_datasets=drop or repeat.",
    "expected_collisions": "Nothing needs to be done: the loss leaves these keys out, so that a "
    "query has fewer negatives by that number.",
    "near_contamination": "Compare the pairs. A training row that asks an eval query in other "
    "words makes the metrics of evaluation look better than they are.",
    "near_duplicate_rows": "Compare the pairs, and keep one of two rows that say the same.",
}
