"""Shapes as the annotations have them, checked on every call: a wrong one must not broadcast."""

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

P = ParamSpec('P')
T = TypeVar('T')


class _Wanted(NamedTuple):
    """What the annotation of one argument says."""

    lead: str  # the name of any leading axes; '' where there are none
    axes: tuple[str, ...]
    is_mask: bool

    def __str__(self) -> str:
        return f'[{", ".join([f"*{self.lead}"] * bool(self.lead) + [*self.axes])}]'


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Checks the arrays that a function is called with against its jaxtyping annotations.

    Axes of one name have one size in all arguments, leading axes of one name are equal, and what
    is annotated as `Bool` is bool. Under `jit` that costs nothing once a function is traced.

    Raises:
      ValueError: naming the function, the argument, and both shapes.
    """
    signature = inspect.signature(function)
    wanted = {
        name: each
        for name, parameter in signature.parameters.items()
        if (each := _wanted(parameter.annotation)) is not None
    }

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        _check(function.__name__, wanted, signature.bind(*args, **kwargs).arguments)
        return function(*args, **kwargs)

    return call


def _wanted(annotation: Any) -> _Wanted | None:
    """What a jaxtyping annotation says, or one that allows None too."""
    for each in (annotation, *typing.get_args(annotation)):
        text = getattr(each, 'dim_str', None)
        if text is not None:
            axes = text.split()
            lead = axes.pop(0).removeprefix('*') if axes and axes[0].startswith('*') else ''
            return _Wanted(lead, tuple(axes), 'bool' in each.dtypes)
    return None


def _check(where: str, wanted: dict[str, _Wanted], given: dict[str, Any]) -> None:
    sizes: dict[str, int | tuple[int, ...]] = {}
    for name, each in wanted.items():
        value = given.get(name)
        if value is None:
            continue
        shape, count = np.shape(value), len(each.axes)
        split = len(shape) - count
        found = dict(zip(each.axes, shape[split:], strict=True)) if split >= 0 else {}
        if each.lead:
            found[f'*{each.lead}'] = shape[: max(split, 0)]
        before = dict(sizes)
        fits = split == 0 or (split > 0 and bool(each.lead))
        if not fits or any(sizes.setdefault(axis, size) != size for axis, size in found.items()):
            known = [f'{axis} = {_shown(before[axis])}' for axis in _axes(each) if axis in before]
            raise ValueError(
                f'{where}: {name}: expected shape {each}'
                + (f' with {", ".join(known)}' if known else '')
                + f', got {_shown(shape)}.'
            )
        kind = value.dtype if hasattr(value, 'dtype') else np.asarray(value).dtype
        if each.is_mask and kind != np.bool_:
            raise ValueError(f'{where}: {name}: expected bool, got {kind}.')


def _axes(each: _Wanted) -> list[str]:
    return [*([f'*{each.lead}'] if each.lead else []), *each.axes]


def _shown(size: int | tuple[int, ...]) -> str:
    return f'[{", ".join(map(str, size))}]' if isinstance(size, tuple) else str(size)
