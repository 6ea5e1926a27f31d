"""Fields of a request that the configuration has no name for, or says otherwise."""

import json
from collections.abc import Mapping
from typing import Any

from qcrd_jax.errors import InputError
from qcrd_jax.files import is_unicode

FIELD = '--config.teacher.extra'
LIMITS = ('max_completion_tokens', 'max_tokens')
"""What the limit of an answer's tokens is called: the first is what newer servers ask for."""

_EXAMPLE = """'{"top_p": 0.9, "chat_template_kwargs": {"enable_thinking": false}}'"""
_SHOWN = 200  # characters of a text that is refused
_ELSEWHERE = {
    'model': '--config.teacher.model, which is recorded with every answer',
    'messages': '--config.teacher.prompt, which makes them of the question',
}


def parse(text: str) -> dict[str, Any]:
    """Reads `teacher.extra`, a JSON object of fields; null removes a field; '': none.

    Raises:
      InputError: if it is none, or has a field that cannot be overridden.

    Examples:
      >>> parse('{"temperature": null, "seed": 1}')
      {'temperature': None, 'seed': 1}
    """
    if not text.strip():
        return {}
    shown = text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'
    try:
        fields = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f'{FIELD}: expected a JSON object such as {_EXAMPLE}, got {shown!r} ({error}).'
        ) from error
    if not isinstance(fields, dict):
        raise InputError(f'{FIELD}: expected a JSON object such as {_EXAMPLE}, got {shown!r}.')
    if not is_unicode(json.dumps(fields, ensure_ascii=False)):
        raise InputError(f'{FIELD}: half a surrogate pair cannot be sent; got {shown!r}.')
    for name in fields.keys() & _ELSEWHERE.keys():
        raise InputError(f'{FIELD}: {name!r} is set by {_ELSEWHERE[name]}.')
    if fields.get('n') not in (None, 1):
        raise InputError(
            f"{FIELD}: a request gets one answer; 'n' is expected to be 1, got {fields['n']!r}. "
            '--config.data.samples says how many answers a question gets.'
        )
    for name in LIMITS:
        limit = fields.get(name)
        if limit is not None and not (type(limit) is int and limit >= 1):
            raise InputError(f'{FIELD}: {name!r} is expected to be at least 1, got {limit!r}.')
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is not JSON')


def limit_of(fields: Mapping[str, Any]) -> int | None:
    """Returns the largest limit of tokens in the fields; None if there is none."""
    return max((fields[name] for name in LIMITS if fields.get(name) is not None), default=None)


def is_unlimited(fields: Mapping[str, Any]) -> bool:
    """Whether the fields remove the limit of tokens."""
    return limit_of(fields) is None and bool(fields.keys() & set(LIMITS))


def merge(
    body: Mapping[str, Any], fields: Mapping[str, Any], limit: int, name: str
) -> dict[str, Any]:
    """Returns a request's body with a limit of tokens and the fields in the place of its own.

    Args:
      body: of the request, without a limit.
      fields: as `parse` returns them.
      limit: of tokens; it is left out where the fields name one, or remove it.
      name: what the limit is called.

    Examples:
      >>> merge({'temperature': 0.7}, {'temperature': None, 'seed': 1}, 9, 'max_tokens')
      {'max_tokens': 9, 'seed': 1}
      >>> merge({}, {'max_completion_tokens': 5}, 9, 'max_tokens')
      {'max_completion_tokens': 5}
    """
    own = {} if fields.keys() & set(LIMITS) else {name: limit}
    merged = {**body, **own, **fields}
    return {field: value for field, value in merged.items() if value is not None}
