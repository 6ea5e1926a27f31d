"""Names that a package offers and imports only when they are asked for."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns the `__getattr__` of a package.

    Args:
      package: its name.
      modules: by name, the module of the package that has it.

    >>> names('qcrd_jax.data', {'majority': 'self_consistency'})('majority')(['b', 'a', 'a'])
    'a'
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        return getattr(importlib.import_module(f'{package}.{modules[name]}'), name)

    return get
