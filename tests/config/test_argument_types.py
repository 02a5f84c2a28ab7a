"""Plain values are compared with the type hints of the class that they are arguments of."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from llm_embedder_data import ConfigError
from llm_embedder_data.config.argument_types import check_types_of


class Takes:
    def __init__(
        self,
        count: int = 1,
        rate: float = 0.5,
        is_on: bool = False,
        name: str | None = None,
        level: Literal["low", "high", 16] = "low",
        devices: list[int] | str | int = "auto",
        lasting: timedelta | dict[str, int] | None = None,
        folder: str | Path = ".",
        anything: Any = None,
        never_null: int = None,  # type: ignore[assignment]  # noqa: RUF013
        unhinted=None,
    ) -> None: ...


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("count", True, "count=True: expected a whole number"),
        ("count", 1.5, "expected a whole number"),
        ("count", "3", "count='3': expected a whole number"),
        ("count", None, "count=None: expected a whole number"),
        ("rate", float("nan"), "rate=nan: expected a number"),
        ("rate", [0.5], "expected a number"),
        ("is_on", 1, "is_on=1: expected true or false"),
        ("is_on", "no", "is_on='no': expected true or false"),
        ("name", 3, "name=3: expected text or null (quote a number that is meant as text)"),
        ("level", "hihg", "level='hihg': expected low, high or 16"),
        ("level", True, "expected low, high or 16"),
        ("devices", [0, "a"], "expected a list, text or a whole number"),
        ("devices", {"a": 1}, "expected a list, text or a whole number"),
        ("lasting", "1s", "expected an object of timedelta ({_target_: ...}), a mapping or null"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_key(name, value, expected):
    with pytest.raises(ConfigError) as refused:
        check_types_of(Takes, {name: value}, "group.one")

    assert str(refused.value).startswith(f"group.one.{name}=")
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", -1),
        ("rate", 2),
        ("rate", float("inf")),
        ("is_on", True),
        ("name", None),
        ("level", 16),
        ("devices", [0, 1]),
        ("devices", []),
        ("lasting", {"seconds": 1}),
        ("lasting", timedelta(1)),  # an object that was built from a nested node
        ("folder", "runs"),
        ("anything", {"a": [1]}),
        ("never_null", None),  # the default, whatever its hint says
        ("unhinted", "x"),
        ("unknown", "x"),  # left to the check of names
    ],
)
def test_a_value_that_the_hint_allows_passes(name, value):
    check_types_of(Takes, {name: value}, "group.one")


class Later:
    def __init__(self, name: "Nowhere", count: int = 1) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def test_a_hint_that_cannot_be_resolved_is_passed_over_and_the_others_are_not():
    check_types_of(Later, {"name": 3, "count": 1}, "group.one")

    with pytest.raises(ConfigError, match=r"group\.one\.count='x': expected a whole number"):
        check_types_of(Later, {"name": 3, "count": "x"}, "group.one")
