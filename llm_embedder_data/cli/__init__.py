"""The console script: ``llm-embedder-data VERB [KEY=VALUE ...]``.

A command passes through these modules in turn:

    main            finds the verb, answers --help and --version, prints errors without a traceback
    command_line    separates Hydra's flags from settings
    key_checks      checks that the keys of settings exist in conf/
    early_checks    checks values before slow libraries are imported
    hydra_jobs      runs the verb as a Hydra application: once, or once per job of --multirun
    verbs/          the verbs, a module each

To add a verb, write ``verbs/<name>.py`` with a function ``<name>(cfg)``, and add one line to
``VERBS`` in ``verbs/__init__.py``. A verb with settings of its own also gets a file in conf/ (see
conf/plan.yaml), which that line names.
"""
