"""The console: ``llm-embedder-data VERB [KEY=VALUE ...]``.

A command passes through these modules in turn:

    main            finds the verb, answers --help and --version, turns a refusal into one sentence
    command_line    tells Hydra's flags from settings
    key_checks      compares the settings' keys with conf/
    early_checks    checks values before anything slow is imported
    hydra_jobs      lets Hydra run the verb, once or once per job of --multirun
    verbs/          what each verb does, one file a verb

To add a verb, write ``verbs/<name>.py`` with a function ``<name>(cfg)``, and add one line to
``VERBS`` in ``verbs/__init__.py``. A verb with settings of its own also gets a file in conf/ (see
conf/plan.yaml), which that line names.
"""
