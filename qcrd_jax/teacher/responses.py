"""What an OpenAI-compatible server can answer: a completion, or one of many kinds of fault.

Pure functions of status, headers and body. Whatever a server sends is data: it is measured, cut
and recorded, never trusted.
"""

import dataclasses
import email.utils
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from qcrd_jax.files import without_surrogates
from qcrd_jax.teacher import dialects

FaultKind = Literal[
    'unreachable',  # no connection: nothing listens, or its name does not resolve
    'timeout',  # connected, and no whole answer in time
    'broken',  # the connection ended before the answer did
    'rate_limit',  # 429
    'server_error',  # 5xx, and 408, 409 and 425, which ask for a retry as well
    'rejected',  # 400, 413, 422: this very request (too long, filtered), or a field of all of them
    'renamed',  # 400 that asks for `max_completion_tokens` in the place of `max_tokens`
    'unauthorised',  # 401, 403: the key
    'not_found',  # 404: the model or the address
    'redirected',  # 3xx to another host, or one that would not repeat the request
    'refused',  # every other status, and an empty account
    'too_large',  # a body with more bytes than any answer
    'html',  # 200 with a web page: a proxy or a login answered, not the model
    'malformed',  # 200, and not the JSON that it should be
    'no_choices',  # 200 with an empty list of choices
    'null_content',  # 200 with an answer that is null
    'empty',  # 200 with an answer of white space
    'filtered',  # 200 with an answer that the server's content filter stopped
    'interrupted',  # 200 with an answer that the server broke off
    'cut',  # 200 with reasoning that reached the limit of tokens, and no answer
]

Scope = Literal['request', 'attempt', 'record', 'run']
"""What a fault ends: this request (ask otherwise, at once), this attempt (try again), this record
(skip it), or the whole run."""

_RETRIED = (408, 409, 425, 429)
_KINDS: dict[int, FaultKind] = {
    400: 'rejected', 413: 'rejected', 422: 'rejected',
    401: 'unauthorised', 403: 'unauthorised', 404: 'not_found', 429: 'rate_limit',
}  # fmt: skip
# How an account that is empty or closed is called, by code or type (`insufficient_quota`,
# `billing_hard_limit_reached`, `Arrearage`) and in words; not what passes by itself, such as a
# quota per minute.
_EMPTY_NAMES = re.compile(
    'insufficient(user)?(quota|balance|fund|credit)|billing|arrear|overdue|paymentrequired|credit'
    '|budgetexceeded|exceededcurrentquota|spend(ing)?limit|accountdeactivated'
)
_EMPTY_WORDS = re.compile(
    'credit balance is too low|insufficient (account )?(balance|credit|fund|quota)'
    '|billing hard limit|(not enough|out of|more) credits|exceeded your current quota'
    '|account is (not active|inactive|deactivated|suspended)|payment required',
    re.IGNORECASE,
)
_PASSING = re.compile('per[- ](second|minute|hour|day)|(re)?try (again )?(in|after)', re.IGNORECASE)
_WRONG_KEY = re.compile(r'incorrect api key|api key not valid|invalid api key', re.IGNORECASE)
# About a field that every request has or has not, so that no other record fares better.
_UNKNOWN_FIELD = re.compile(
    'unsupported ?(parameter|value)|unknown ?(parameter|argument|field)|extra_forbidden'
    '|unrecognized (request )?(argument|parameter)|(inputs?|fields?) (are|is) not permitted',
    re.IGNORECASE,
)
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
      finish_reason: why it stopped; 'length' where it was cut at `max_tokens`, by whatever name.
      usage: what it is charged.
      model: the name that the server gives its model; '' where it gives none.
      reasoning: what it thought before, where the server sends that apart; '' where it does not.
    """

    text: str
    finish_reason: str
    usage: Usage
    model: str
    reasoning: str = ''


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
        value = dialects.read_body(body)
    except (ValueError, RecursionError):
        text = body.decode('utf-8', 'replace')
        kind = 'html' if text.lstrip()[:1] == '<' else 'malformed'
        return Fault(kind, shorten(text), usage=estimate(text))
    if not isinstance(value, dict):
        text = value if isinstance(value, str) else body.decode('utf-8', 'replace')
        return Fault('malformed', f'a JSON {type(value).__name__}', usage=estimate(text))

    counted = _read_usage(value.get('usage'))
    choices = value.get('choices')
    if choices is None or choices == []:
        message = _error_message(value) or 'an answer without choices'
        if _account_is_empty(value, {}):
            return Fault('refused', message, 'run', usage=counted)
        return Fault('no_choices', message, usage=counted or estimate(''))
    choice = choices[0] if isinstance(choices, list) else None
    message = choice.get('message') if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Fault('malformed', 'choices without a message', usage=counted or estimate(''))
    try:
        said = dialects.read_message(message)
    except (ValueError, RecursionError) as error:
        return Fault('malformed', shorten(str(error)), usage=counted or estimate(''))
    usage = counted or estimate((said.text or '') + said.reasoning)
    reason = shorten(dialects.read_finish_reason(choice))
    why = _no_answer(said, reason, thought=bool(said.reasoning.strip()) or _thought(value))
    if why is not None:
        return dataclasses.replace(why, usage=usage)
    reasoning = without_surrogates(said.reasoning) if said.reasoning.strip() else ''
    text = without_surrogates(said.text or '')
    return Completion(text, reason, usage, _text(value.get('model')), reasoning)


def _no_answer(said: dialects.Said, reason: str, *, thought: bool) -> Fault | None:
    """Returns why what was said is no answer; None if it is one."""
    if reason == dialects.FILTERED:
        return Fault('filtered', 'stopped by the content filter')
    if reason == dialects.INTERRUPTED:
        return Fault('interrupted', 'the server broke the answer off')
    if said.text and said.text.strip():
        return None
    if reason == dialects.LENGTH and thought:
        # As good as sure to happen again, and paid for every time.
        return Fault('cut', 'the limit of tokens was reached in the reasoning', 'record')
    why = shorten(said.refusal) or f'finish_reason {reason!r}'
    if thought:
        why = f'reasoning without an answer behind it, {why}'
    if said.text is None:
        return Fault('null_content', why)
    return Fault('empty', f'a blank answer, {why}')


def read_error(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Fault:
    """Reads a response whose status is an error; none of these is charged.

    Args:
      status: of HTTP.
      headers: by lower-case name.
      body: as it came.
      now: seconds since the epoch, which a Retry-After date is compared with.
    """
    try:
        value = [*dialects.read_values(body), ''][0]
    except (ValueError, RecursionError):
        value = body.decode('utf-8', 'replace')
    words = _error_message(value)
    message = f'{status}: {words or "no reason given"}'
    names = _error_names(value)
    if status == 402 or _account_is_empty(value, headers):
        return Fault('refused', message, 'run')  # waiting does not fill an account
    if status in _RETRIED or status >= 500:
        kind = _KINDS.get(status, 'server_error')
        return Fault(kind, message, retry_after=read_retry_after(headers, now))
    if _asks_for_completion_tokens(value):
        return Fault('renamed', message, 'request')
    kind = _KINDS.get(status, 'refused')
    if re.search('invalidapikey|apikeyinvalid', names) or _WRONG_KEY.search(words):
        kind = 'unauthorised'
    elif 'modelnotfound' in names:
        kind = 'not_found'
    elif status == 403 and re.search('flagged|moderation', words.lower()):
        kind = 'rejected'  # this question, not the key
    of_all = kind != 'rejected' or bool(_UNKNOWN_FIELD.search(f'{names} {words}'))
    return Fault(kind, message, 'run' if of_all else 'record')


def _account_is_empty(value: Any, headers: Mapping[str, str]) -> bool:
    """Whether an error is about the account, and no limit of a minute that passes by itself."""
    words, names = _error_message(value), _error_names(value)
    if _PASSING.search(words):
        return False
    if _EMPTY_NAMES.search(names):
        return True
    likely = 'quotaexceeded' in names or _EMPTY_WORDS.search(words)
    return bool(likely) and 'retry-after' not in headers and 'resourceexhausted' not in names


def _asks_for_completion_tokens(value: Any) -> bool:
    """Whether an error is about the name of the limit, and not about its size."""
    error, words = _error_of(value), _error_message(value).lower()
    param = error.get('param') if isinstance(error, dict) else None
    if param == 'max_tokens' and 'unsupportedparameter' in _error_names(value):
        return True
    named = re.search('max_?completion_?tokens', words) and 'too large' not in words
    return bool(named and re.search(r'support|instead|\buse\b|allowed|deprecated|unknown', words))


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


def shorten(text: str) -> str:
    """Returns the text on one line, without what could steer a terminal, cut to a length."""
    line = ' '.join(without_surrogates(text[: 10 * _MAX_MESSAGE]).split())
    line = ''.join(character for character in line if character.isprintable())
    return line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 3] + '...'


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
    sent = value.get('prompt_tokens', value.get('input_tokens'))
    counts = [sent, value.get('completion_tokens', value.get('output_tokens'))]
    whole = [count for count in counts if type(count) is int and 0 <= count <= _MAX_TOKENS]
    return Usage(whole[0], whole[1]) if len(whole) == 2 else None


def _thought(value: Mapping[str, Any]) -> bool:
    """Whether a response counts tokens of reasoning, which not every server shows."""
    usage = value.get('usage')
    details = usage.get('completion_tokens_details') if isinstance(usage, dict) else None
    count = details.get('reasoning_tokens') if isinstance(details, dict) else None
    return type(count) is int and count > 0


def _error_of(value: Any) -> Any:
    """What a server says of an error: OpenAI's form, FastAPI's, Google's list of one, a text."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    if isinstance(value, dict):
        return value.get('error') or value.get('detail') or value.get('message') or ''
    return value


def _error_message(value: Any) -> str:
    error = _error_of(value)
    error = error.get('message', '') if isinstance(error, dict) else error
    if isinstance(error, list) and all(isinstance(each, dict) for each in error):
        # FastAPI's, without the request that it repeats: our own words would be read as its.
        error = [[each.get('loc'), each.get('msg') or each.get('type')] for each in error]
    try:
        return shorten(error if isinstance(error, str) else json.dumps(error))
    except RecursionError:
        return ''


def _error_names(value: Any) -> str:
    """The codes and types that an error has, in small letters without anything between them."""
    error = _error_of(value)
    holders = [holder for holder in (value, error) if isinstance(holder, dict)]
    names = [holder.get(name) for holder in holders for name in ('code', 'type', 'status')]
    text = ' '.join(name for name in names if isinstance(name, str))
    return re.sub('[^a-z0-9 ]', '', text.lower())


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _text(value: Any) -> str:
    return shorten(value) if isinstance(value, str) else ''
