"""The fields of a config.json, read with their types, and refused by name."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from qcrd_jax.errors import InputError, shown
from qcrd_jax.models.checks import FieldError

_WHOLE = 1 << 64  # whole numbers below it are read where others are expected


class Fields(NamedTuple):
    """The fields of a config.json, each checked for its type when it is read."""

    path: pathlib.Path
    raw: dict[str, Any]

    def get(self, name: str, kind: type, default: Any, alias: str | None = None) -> Any:
        """Returns a field, or what an alias of it says; the default where neither is there."""
        value = self.raw.get(name)
        if value is None and alias is not None:
            value = self.raw.get(alias)
        if value is None:
            return default
        if kind is float and type(value) is int and abs(value) < _WHOLE:
            value = float(value)
        if type(value) is not kind:  # `isinstance` would take true for 1
            self._raise(name, f'{kind.__name__}, got {shown(value)}')
        return value

    def ids(self, name: str, default: int | None) -> tuple[int, ...]:
        """Returns a field of one id or several; none where it is null."""
        value = self.raw.get(name, default)
        several = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(token) is int for token in several):
            self.refuse(name, 'an id, or a list of ids')
        return tuple(several)

    def only(self, name: str, *values: Any) -> None:
        """Refuses a field that is there and has none of these values."""
        if name not in self.raw:
            return
        if not any(type(self.raw[name]) is type(x) and self.raw[name] == x for x in values):
            self.refuse(name, f'{" or ".join(map(json.dumps, values))}; nothing else is computed')

    def refuse(self, name: str, expected: str) -> NoReturn:
        """Raises InputError, naming the file, the field, what was expected and what came."""
        got = shown(self.raw[name]) if name in self.raw else 'no such field'
        self._raise(name, f'{expected}; got {got}')

    def build(self, config: Callable[..., Any], names: Mapping[str, str], **values: Any) -> Any:
        """Returns a config of these values.

        Args:
          config: its class.
          names: what the file calls the fields of the class that it calls otherwise.
          **values: the fields.

        Raises:
          InputError: naming the field that the class refuses, as the file calls it.
        """
        try:
            return config(**values)
        except FieldError as error:
            name = names.get(error.field, error.field)
            self._raise(name, f'{error.expected}, got {shown(error.value)}', error)

    def _raise(self, name: str, expected: str, cause: Exception | None = None) -> NoReturn:
        raise InputError(f'{self.path}: {name}: expected {expected}.') from cause
