"""The doctor: reads all data before a GPU is rented, and says what is wrong with it.

``diagnose.py`` runs everything and is the place to start. ``checks`` holds what is always looked
for, ``near_duplicates`` what is looked for on request. ``costs`` says what an epoch takes.
``results`` holds what comes out: findings, tables, the page, limits for CI and cleaned files.
``texts`` holds texts in a form that is fast to check.
"""
