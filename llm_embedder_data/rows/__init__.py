"""Reads the sources that the user names into datasets of canonical rows.

In the order in which data flows:

1. ``sources`` turns a setting such as ``data.train_data`` into sources: names, files and settings.
2. ``files`` opens a file of any container. ``columns`` converts raw values to Arrow columns of
   fixed types, and says what is wrong with each value that does not fit.
3. ``schema`` makes canonical rows from these columns, checks them, and caches them. A kind of rows
   (training rows, rows to retrieve or rerank, corpus records) is a ``RowKind``.
4. Files of foreign formats take another path to the same columns: ``records`` reads them record by
   record, ``formats`` interprets the records, ``side_cars`` and ``passages`` read files that belong
   to the rows, and ``foreign_rows`` caches the result.
5. ``source_rows`` combines all files of a source. ``faults`` makes one error of all bad rows.
   ``streaming`` reads files that stay at an address, and fetches their texts when needed.
6. ``train_sets``, ``eval_sets`` and ``corpora`` build the datasets that batches are made from.
   ``selection`` decides which of their rows and negatives may be used. ``joins`` adds negatives and
   scores from other files.
"""
