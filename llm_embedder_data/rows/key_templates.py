"""Key templates: the fields of a corpus record to the text of a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Any

from llm_embedder_data.core.errors import ConfigError

DEFAULT_KEY_TEMPLATE = "{title} {text}"


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """A template that was taken apart.

    Attributes:
        fields: their names in order, each once.
        by_place: the template with a field's place among ``fields`` for its name. So no name of a
            field ever reaches ``str.format``, which takes some of them for expressions.
    """

    fields: tuple[str, ...]
    by_place: str

    def filled(self, values: Sequence[str]) -> str:
        """The template with a value for each of ``fields``."""
        return self.by_place.format(*values)


@lru_cache(maxsize=256)
def _parsed(template: str, key: str) -> KeyTemplate:
    wrong = f"{key}={template!r}"
    try:
        template.encode()
        parts = list(Formatter().parse(template))
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{wrong}: it holds half a surrogate pair, which no text does (take it out)"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{wrong}: {error} (write fields as {{name}})") from error
    places: dict[str, int] = {}
    by_place = ""
    for literal, name, spec, conversion in parts:
        by_place += literal.replace("{", "{{").replace("}", "}}")
        if name is None:
            continue
        is_plain = name.strip() and not name.isdigit() and not set(name) & set(".[]{}")
        if not is_plain or spec or conversion is not None:
            raise ConfigError(
                f"{wrong}: expected plain field names such as {{title}}, without attribute, index, "
                "conversion or format"
            )
        by_place += f"{{{places.setdefault(name, len(places))}}}"
    if not places:
        raise ConfigError(f"{wrong}: expected at least one field such as {{text}}")
    return KeyTemplate(tuple(places), by_place)


def parse_template(template: Any, key: str = "data.key_template") -> KeyTemplate:
    """Take a key template apart.

    A name may hold anything but ``. [ ] { } ! :``, so ``{doc text}``, ``{doc-id}`` and ``{标题}``
    are names.

    Args:
        template: text with the names of fields in braces; ``{{`` and ``}}`` are braces.
        key: of the setting, for messages.

    Raises:
        ConfigError: no text, no field, or a format expression such as ``{}``, ``{0}``, ``{a.b}``,
            ``{a[0]}``, ``{a!r}``, ``{a:>9}``.
    """
    if not isinstance(template, str):
        raise ConfigError(
            f"{key}={template!r}: expected a text with names of fields in braces, such as "
            f"{DEFAULT_KEY_TEMPLATE!r}"
        )
    return _parsed(template, key)
