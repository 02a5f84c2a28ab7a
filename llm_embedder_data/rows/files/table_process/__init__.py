"""The process that reads Arrow and Parquet files, checks them in full, and sends plain columns.

pyarrow trusts much of what a file says about itself. A damaged file can crash the process that
opens it, or keep it busy for minutes. So a separate process reads it, and the process that asked
notices if the reading process ends or is too slow (see
:mod:`llm_embedder_data.rows.files.table_readers`).

``table_program`` is the reading process: it reads requests and sends answers, in the format of
``table_messages``. ``checked_slices`` reads a file from beginning to end, with the help of
``file_batches`` (files to batches), ``plain_columns`` (batches to columns of plain types),
``class_columns`` (numbers of named classes) and ``row_sizes`` (batches to slices of limited size).
These modules import nothing but NumPy and pyarrow, so that the process starts quickly.
"""
