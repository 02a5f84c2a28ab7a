"""What is typed behind a verb: flags and settings, and typing errors in both."""

import pytest


@pytest.mark.parametrize("verb", ["fit", "validate", "plan"])
@pytest.mark.parametrize("argument", ["", " ", "=", "+", "~", "+=3", "~=", "++", "=3", "\t"])
def test_an_argument_without_a_key_is_refused(refused, verb, argument):
    said = refused(verb, argument)

    assert repr(argument) in said
    assert "is not a setting" in said
    assert "expected KEY=VALUE" in said


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("data.batch_size", "is not a setting: expected KEY=VALUE"),
        ("data.batch_size=", "there is no value"),
        ("--verson", "there is no flag '--verson'; did you mean '--version'?"),
        ("--cfg", "nothing follows the flag '--cfg'"),
        ("data.train_data={a: x=1.jsonl}", "must be quoted"),
        ("seed", "is not a setting"),
        ("--resolve", "the flag '--resolve' is for a printed configuration (add --cfg job)"),
        ("--package=data", "the flag '--package' is for a printed configuration"),
        ("--config-name=nope", "there is no configuration 'nope'"),
    ],
)
def test_a_typing_error_is_named(refused, argument, sentence):
    assert sentence in refused("fit", argument)
