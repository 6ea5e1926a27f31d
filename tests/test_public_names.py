"""The names that the library's packages offer."""

import importlib
import inspect

import pytest

PACKAGES = ('losses', 'models', 'models.t5', 'data', 'ring', 'sampling')


@pytest.mark.parametrize('name', PACKAGES)
def test_every_name_is_there_and_says_what_it_is(name):
    package = importlib.import_module(f'qcrd_jax.{name}')
    assert package.__all__ == sorted(package.__all__, key=_order)
    for each in package.__all__:
        value = getattr(package, each)
        assert value is not None
        if isinstance(value, type) or inspect.isroutine(value):
            assert (value.__doc__ or '').strip(), each


def _order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, as ruff sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_what_a_package_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'qcrd_jax.data' has no attribute 'nothing'"):
        _ = importlib.import_module('qcrd_jax.data').nothing
