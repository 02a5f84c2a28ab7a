"""From what the user names to datasets of canonical rows.

In the order in which data flow:

1. ``sources`` turns a setting such as ``data.train_data`` into sources: names, files and settings
   (with ``source_paths``, ``package_paths``, ``dataset_names`` and ``field_names``).
2. ``files`` reads a file of any format and yields raw rows: JSON lines, records, or Arrow batches.
3. ``columns`` converts raw rows to Arrow columns of fixed types, and says what is wrong with each
   value that does not fit.
4. ``schema`` makes canonical rows of these columns and checks them. A kind of rows (training rows,
   rows to retrieve or rerank, corpus records) is a ``RowKind``.
5. ``reading`` does steps 2 to 4 for one file and caches the result. ``source_rows`` does so for all
   files of a source, and turns bad rows into one error (``row_errors``, ``file_shapes``,
   ``known_columns``).
6. ``train_sets``, ``eval_sets`` and ``corpora`` select the rows to use, by task (``task_split``),
   filters and samples (``filters``, ``row_statistics``, ``settings_in_force``).
   ``corpus_indices`` checks eval rows against their corpus.
"""
