"""Key templates: how the fields of a corpus record become the text of a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Any

from llm_embedder_data.core.errors import ConfigError

DEFAULT_KEY_TEMPLATE = "{title} {text}"


def unless_default(template: str) -> str | None:
    """Return a template; None for the default one, which needs no fields that have its names."""
    return None if template == DEFAULT_KEY_TEMPLATE else template


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """A parsed template.

    Attributes:
        fields: the names of the fields in order of appearance, without repetition.
        by_index: the template with indices into ``fields`` instead of names, so that ``str.format``
            does not take a name for an expression.
    """

    fields: tuple[str, ...]
    by_index: str

    def filled(self, values: Sequence[str]) -> str:
        """Return the template with a value for each of ``fields``."""
        return self.by_index.format(*values)


def parse_template(template: Any, setting: str = "data.key_template") -> KeyTemplate:
    """Parse a key template.

    Names may hold anything but ``. [ ] { } ! :``, such as ``{doc text}``, ``{doc-id}``, ``{标题}``.

    Args:
        template: text with the names of fields in braces; ``{{`` and ``}}`` stand for braces.
        setting: the name of the setting, for messages.

    Raises:
        ConfigError: the value is not a text, has no field, or has a format expression such as
            ``{}``, ``{0}``, ``{a.b}``, ``{a[0]}``, ``{a!r}``, ``{a:>9}``.
    """
    if not isinstance(template, str):
        raise ConfigError(
            f"{setting}={template!r}: expected a text with names of fields in braces, such as "
            f"{DEFAULT_KEY_TEMPLATE!r}"
        )
    return _parsed(template, setting)


def template_fields(template: Any) -> tuple[str, ...]:
    """Return the field names of a key template in order of appearance, without repetition.

    Raises:
        ConfigError: see :func:`parse_template`.
    """
    return parse_template(template).fields


@lru_cache(maxsize=256)
def _parsed(template: str, setting: str) -> KeyTemplate:
    wrong = f"{setting}={template!r}"
    try:
        template.encode()
        parts = list(Formatter().parse(template))
    except UnicodeEncodeError as error:
        raise ConfigError(f"{wrong}: it holds a lone surrogate (take it out)") from error
    except ValueError as error:
        raise ConfigError(f"{wrong}: {error} (write fields as {{name}})") from error
    indices: dict[str, int] = {}
    by_index = ""
    for literal, name, spec, conversion in parts:
        by_index += literal.replace("{", "{{").replace("}", "}}")
        if name is None:
            continue
        is_plain = name.strip() and not name.isdigit() and not set(name) & set(".[]{}")
        if not is_plain or spec or conversion is not None:
            raise ConfigError(
                f"{wrong}: expected plain field names such as {{title}}, without attribute, index, "
                "conversion or format"
            )
        by_index += f"{{{indices.setdefault(name, len(indices))}}}"
    if not indices:
        raise ConfigError(f"{wrong}: expected at least one field such as {{text}}")
    return KeyTemplate(tuple(indices), by_index)
