"""The doctor: reads all data before a GPU is rented, and says what is wrong with it.

Start with ``diagnose.py``, which runs everything. ``checks`` has the checks that always run, and
``near_duplicates`` those that run on request. ``costs`` computes what an epoch costs. ``results``
has the results: findings, tables, the HTML page, limits for CI, and cleaned files. ``texts`` stores
texts in forms that are fast to check.
"""
