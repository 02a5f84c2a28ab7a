"""From what the user names to datasets of canonical rows.

In the order in which data flow:

1. ``sources`` turns a setting such as ``data.train_data`` into sources: names, files and settings.
2. ``files`` opens a file of any container. ``columns`` converts raw values to Arrow columns of
   fixed types, and says what is wrong with each value that does not fit.
3. ``schema`` makes canonical rows of these columns, checks them, and keeps them in a cache. A kind
   of rows (training rows, rows to retrieve or rerank, corpus records) is a ``RowKind``.
4. Files of other people's formats go another way to the same columns: ``records`` reads them record
   by record, ``formats`` knows the format, ``side_cars`` and ``passages`` hold what lies beside the
   rows, and ``foreign_rows`` keeps the outcome in a cache.
5. ``source_rows`` puts together all files of a source. ``faults`` turns bad rows into one error.
   ``streaming`` stands in for files whose texts stay behind an address.
6. ``train_sets``, ``eval_sets`` and ``corpora`` are the products. ``selection`` says which of their
   rows and negatives may be used; ``joins`` adds negatives and scores from other files.
"""
