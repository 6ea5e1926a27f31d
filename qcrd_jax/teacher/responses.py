"""What an OpenAI-compatible server can answer: a completion, or one of many kinds of fault.

Pure functions of status, headers and body. Whatever a server sends is data: it is measured, cut
and recorded, never trusted.
"""

import dataclasses
import email.utils
import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from qcrd_jax.files import without_surrogates

FaultKind = Literal[
    'unreachable',  # no connection: nothing listens, or its name does not resolve
    'timeout',  # connected, and no whole answer in time
    'broken',  # the connection ended before the answer did
    'rate_limit',  # 429
    'server_error',  # 5xx, and 408, 409 and 425, which ask for a retry as well
    'rejected',  # 400, 413, 422: this very request (too long, filtered)
    'unauthorised',  # 401, 403: the key
    'not_found',  # 404: the model or the address
    'refused',  # every other status, and an empty account
    'html',  # 200 with a web page: a proxy or a login answered, not the model
    'malformed',  # 200, and not the JSON that it should be
    'no_choices',  # 200 with an empty list of choices
    'null_content',  # 200 with an answer that is null
    'empty',  # 200 with an answer of white space
    'filtered',  # 200 with an answer that the server's content filter stopped
]

Scope = Literal['attempt', 'record', 'run']
"""What a fault ends: this attempt (try again), this record (skip it), or the whole run."""

_RETRIED = (408, 409, 425, 429)
_KINDS: dict[int, FaultKind] = {
    400: 'rejected', 413: 'rejected', 422: 'rejected',
    401: 'unauthorised', 403: 'unauthorised', 404: 'not_found', 429: 'rate_limit',
}  # fmt: skip
_MAX_MESSAGE = 300  # characters of a server's words that are shown or recorded
_BYTES_PER_TOKEN = 3  # English has some 4: an estimate that errs to the expensive side
_FRAME = 64  # tokens of the chat template around one message, at most
_MAX_TOKENS = 1 << 40  # a server that counts more has lost count


@dataclasses.dataclass(frozen=True)
class Usage:
    """Tokens that a request is charged.

    Attributes:
      prompt_tokens: what was sent.
      completion_tokens: what was written.
      estimated: whether these are our guess, because the server sent no count.
    """

    prompt_tokens: int
    completion_tokens: int
    estimated: bool = False


@dataclasses.dataclass(frozen=True)
class Completion:
    """An answer.

    Attributes:
      text: what the model wrote, never blank.
      finish_reason: why it stopped; 'length' where it was cut at `max_tokens`.
      usage: what it is charged.
      model: the name that the server gives its model; '' where it gives none.
    """

    text: str
    finish_reason: str
    usage: Usage
    model: str


@dataclasses.dataclass(frozen=True)
class Fault:
    """Anything but an answer.

    Attributes:
      kind: what happened.
      message: in a few words; the server's own where it has any.
      scope: what it ends.
      usage: what it is charged: an answer that cannot be used, or was lost on its way, may well
        have been paid for. None: nothing.
      retry_after: seconds that the server asks to wait; None where it does not say.
    """

    kind: FaultKind
    message: str
    scope: Scope = 'attempt'
    usage: Usage | None = None
    retry_after: float | None = None


def read_completion(body: bytes, prompt: str, max_tokens: int) -> Completion | Fault:
    """Reads the body of a response with status 200.

    Args:
      body: as it came.
      prompt: what was asked; its tokens are estimated where the server does not count them.
      max_tokens: limit of the answer, and so of any estimate of it.

    Returns:
      The answer, or a fault that says what the body is instead. Either is charged.
    """

    def estimate(text: str) -> Usage:
        return estimated_usage(prompt, min(estimate_tokens(text), max_tokens))

    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode('utf-8', 'replace')
        kind = 'html' if text.lstrip()[:1] == '<' else 'malformed'
        return Fault(kind, _shorten(text), usage=estimate(text))
    if not isinstance(value, dict):
        return Fault('malformed', f'a JSON {type(value).__name__}', usage=estimate(str(value)))

    counted = _read_usage(value.get('usage'))
    choices = value.get('choices')
    if choices is None or choices == []:
        message = _error_message(value) or 'an answer without choices'
        return Fault('no_choices', message, usage=counted or estimate(''))
    choice = choices[0] if isinstance(choices, list) else None
    message = choice.get('message') if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Fault('malformed', 'choices without a message', usage=counted or estimate(''))
    text = message.get('content')
    finish_reason = _text(choice.get('finish_reason'))
    if text is None:
        why = _text(message.get('refusal')) or f'finish_reason {finish_reason!r}'
        return Fault('null_content', why, usage=counted or estimate(''))
    if not isinstance(text, str):
        what = f'content that is a {type(text).__name__}'
        return Fault('malformed', what, usage=counted or estimate(''))
    usage = counted or estimate(text)
    if finish_reason == 'content_filter':
        return Fault('filtered', 'stopped by the content filter', usage=usage)
    if not text.strip():
        return Fault('empty', f'a blank answer, finish_reason {finish_reason!r}', usage=usage)
    return Completion(without_surrogates(text), finish_reason, usage, _text(value.get('model')))


def read_error(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Fault:
    """Reads a response whose status is an error; none of these is charged.

    Args:
      status: of HTTP.
      headers: by lower-case name.
      body: as it came.
      now: seconds since the epoch, which a Retry-After date is compared with.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = body.decode('utf-8', 'replace')
    message = f'{status}: {_error_message(value) or "no reason given"}'
    if status == 429 and _error_code(value) == 'insufficient_quota':
        return Fault('refused', message, 'run')  # waiting does not fill an account
    if status in _RETRIED or status >= 500:
        kind = _KINDS.get(status, 'server_error')
        return Fault(kind, message, retry_after=read_retry_after(headers, now))
    kind = _KINDS.get(status, 'refused')
    return Fault(kind, message, 'record' if kind == 'rejected' else 'run')


def read_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Returns the seconds that a server asks to wait; None if it does not, or not intelligibly.

    Examples:
      >>> read_retry_after({'retry-after': '1.5'}, 0.0)
      1.5
      >>> read_retry_after({'retry-after': 'Thu, 01 Jan 1970 00:01:00 GMT'}, 20.0)
      40.0
    """
    milliseconds = _number(headers.get('retry-after-ms', ''))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get('retry-after', '')
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def estimate_tokens(text: str) -> int:
    """Returns about how many tokens a text has, rather too many than too few."""
    return math.ceil(len(text.encode('utf-8', 'replace')) / _BYTES_PER_TOKEN)


def most_tokens(prompt: str) -> int:
    """Returns how many tokens a prompt can have at most: no token is shorter than a byte."""
    return len(prompt.encode('utf-8', 'replace')) + _FRAME


def estimated_usage(prompt: str, completion_tokens: int) -> Usage:
    """Returns what a request is charged whose tokens nobody counted."""
    return Usage(estimate_tokens(prompt), completion_tokens, estimated=True)


def _read_usage(value: Any) -> Usage | None:
    if not isinstance(value, dict):
        return None
    counts = [value.get('prompt_tokens'), value.get('completion_tokens')]
    whole = [count for count in counts if type(count) is int and 0 <= count <= _MAX_TOKENS]
    return Usage(whole[0], whole[1]) if len(whole) == 2 else None


def _error_message(value: Any) -> str:
    """Returns what a server says is wrong: OpenAI's form, FastAPI's, or any text."""
    if isinstance(value, dict):
        error = value.get('error') or value.get('detail') or value.get('message') or ''
        value = error.get('message', '') if isinstance(error, dict) else error
    return _shorten(value if isinstance(value, str) else json.dumps(value))


def _error_code(value: Any) -> Any:
    error = value.get('error') if isinstance(value, dict) else None
    return error.get('code') if isinstance(error, dict) else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _text(value: Any) -> str:
    return _shorten(value) if isinstance(value, str) else ''


def _shorten(text: str) -> str:
    """Returns the text on one line, without what could steer a terminal, cut to a length."""
    line = ' '.join(without_surrogates(text[: 10 * _MAX_MESSAGE]).split())
    line = ''.join(character for character in line if character.isprintable())
    return line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 3] + '...'
