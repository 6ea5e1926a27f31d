"""One request to an OpenAI-compatible server, through OpenAI's own client."""

import asyncio
import dataclasses
import json
import logging
import os
import re
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

import openai
from ml_collections import config_dict

from qcrd_jax.errors import InputError
from qcrd_jax.files import is_unicode, without_surrogates
from qcrd_jax.teacher import extra, responses
from qcrd_jax.teacher.redaction import Redaction
from qcrd_jax.teacher.responses import Completion, Fault, Usage
from qcrd_jax.teacher.transport import (
    BoundedClient,
    Redirected,
    TooLarge,
    Unreadable,
    most_bytes,
)

DEFAULT_URL = 'https://api.openai.com/v1'
DEFAULT_MODEL = 'gpt-3.5-turbo'  # the paper's (section 4.1)

_CONNECT_TIMEOUT = 10.0  # seconds
_NO_KEY = 'none'  # what a server is sent that asks for no key
# They report every request, and debugging also headers, in which a server may repeat the key.
_HTTP_LOGGERS = ('openai', 'httpx', 'httpx2', 'httpcore', 'httpcore2')


@dataclasses.dataclass(frozen=True)
class Settings:
    """Whom to ask, and how.

    Attributes:
      base_url: of the server, up to and with its `/v1`.
      model: its name at that server.
      key: the secret; '' where the server asks for none. It stays out of every `repr`.
      key_variable: the environment variable that holds it, which messages name in its place.
      temperature: of sampling.
      max_tokens: of one answer; that of `extra`, where it has one.
      timeout: seconds that one request may take in all.
      attempts: requests for one record before it is given up.
      concurrency: requests in flight.
      extra: fields of a request's body that come before all others; None removes one.
    """

    base_url: str
    model: str
    key: str = dataclasses.field(repr=False)
    key_variable: str
    temperature: float
    max_tokens: int
    timeout: float
    attempts: int
    concurrency: int
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def body(self, prompt: str, limit_name: str = 'max_tokens') -> dict[str, Any]:
        """Returns what is sent: the prompt as one user's message, and how it is to be answered.

        Args:
          prompt: what is asked.
          limit_name: what the server calls the limit of an answer's tokens.
        """
        message = {'role': 'user', 'content': without_surrogates(prompt)}
        body = {'model': self.model, 'messages': [message], 'temperature': self.temperature}
        return extra.merge(body, self.extra, self.max_tokens, limit_name)

    def most(self, prompt: str) -> Usage:
        """Returns the most that a request can be charged: fields such as tools are tokens too."""
        fields = len(json.dumps(self.extra)) if self.extra else 0
        return Usage(responses.most_tokens(prompt) + fields, self.max_tokens)

    @classmethod
    def from_config(
        cls,
        teacher: config_dict.ConfigDict,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> 'Settings':
        """Reads `config.teacher` and the environment: a field that is not '' comes first.

        Args:
          teacher: the section of the configuration.
          temperature: in place of the section's own.
          max_tokens: in place of the section's own.
          environ: where OPENAI_BASE_URL, OPENAI_MODEL and the key are looked up.

        Raises:
          InputError: if the address is none, OpenAI's own server would be asked without a key, or
            a field is not what it should be.
        """
        url, where = teacher.base_url, '--config.teacher.base_url'
        if not url:
            url, where = environ.get('OPENAI_BASE_URL') or DEFAULT_URL, '$OPENAI_BASE_URL'
        _check_url(url, where)
        key = environ.get(teacher.key_variable, '').strip()
        if not key and url.rstrip('/') == DEFAULT_URL:
            raise InputError(
                f'--config.teacher.key_variable: ${teacher.key_variable} is not set, and {url} '
                'asks for a key. Set it, or name another server by --config.teacher.base_url.'
            )
        if not re.fullmatch('[!-~]*', key):
            raise InputError(
                f'--config.teacher.key_variable: ${teacher.key_variable} holds white space or '
                'characters beyond ASCII, which no key has. Set it to nothing but the key.'
            )
        fields = extra.parse(teacher.get('extra', ''))
        limit = extra.limit_of(fields)
        if limit is None:
            limit = teacher.max_tokens if max_tokens is None else max_tokens
        if (teacher.budget or teacher.max_tokens_total) and extra.is_unlimited(fields):
            raise InputError(
                f'{extra.FIELD}: without a limit of tokens no budget can be kept. Leave the limit '
                'in, or set --config.teacher.budget and --config.teacher.max_tokens_total to 0.'
            )
        asked = fields.get('temperature')
        if isinstance(asked, int | float):
            temperature = asked
        model = model_of(teacher, environ)
        if not is_unicode(model):
            raise InputError(
                f'--config.teacher.model: expected text that UTF-8 can hold, got {model!r}.'
            )
        return cls(
            base_url=url.rstrip('/'),
            model=model,
            key=key,
            key_variable=teacher.key_variable,
            temperature=float(teacher.temperature if temperature is None else temperature),
            max_tokens=limit,
            timeout=float(teacher.timeout),
            attempts=teacher.attempts,
            concurrency=teacher.concurrency,
            extra=fields,
        )


def model_of(teacher: config_dict.ConfigDict, environ: Mapping[str, str] = os.environ) -> str:
    """Returns the model to ask: the configuration's, else $OPENAI_MODEL, else the paper's."""
    return teacher.model or environ.get('OPENAI_MODEL') or DEFAULT_MODEL


def _check_url(url: str, where: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ('http', 'https') and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that are not closed, a port that is none
        parts, good = urllib.parse.urlsplit(''), False
    if parts.username or parts.password or parts.query:
        raise InputError(
            f'{where}: an address with credentials or a query would be written to files and '
            'messages. Give the key by the environment variable of --config.teacher.key_variable.'
        )
    if not good or not url.isprintable() or ' ' in url:
        raise InputError(f'{where}: expected an address like {DEFAULT_URL}, got {url!r}.')


class Client:
    """Asks a server, once per call. Nothing is retried here, and nothing raised by the network.

    It learns one thing of its server: what it calls the limit of an answer's tokens.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._redaction = Redaction(settings.key)
        self._limit_name = 'max_tokens'
        for name in _HTTP_LOGGERS:
            logger = logging.getLogger(name)
            logger.setLevel(max(logger.level, logging.WARNING))
        self._openai = openai.AsyncOpenAI(
            api_key=settings.key or _NO_KEY,
            base_url=settings.base_url,
            max_retries=0,
            timeout=openai.Timeout(
                settings.timeout, connect=min(_CONNECT_TIMEOUT, settings.timeout)
            ),
            default_headers={'Accept-Encoding': 'identity'},
            http_client=BoundedClient(most_bytes(settings.max_tokens)),
        )

    async def __aenter__(self) -> 'Client':
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._openai.close()

    async def ask(self, prompt: str) -> Completion | Fault:
        """Sends the prompt as one user's message and returns the answer, or what came instead.

        A fault of scope 'request' means that the next call is sent otherwise.
        """
        body = self._settings.body(prompt, self._limit_name)
        outcome = await self._send(body, prompt)
        # A server may repeat in its words what it was sent.
        if isinstance(outcome, Completion):
            hide = self._redaction.answer
            return dataclasses.replace(
                outcome,
                text=hide(outcome.text),
                reasoning=hide(outcome.reasoning),
                finish_reason=self._redaction.message(outcome.finish_reason),
                model=self._redaction.message(outcome.model),
            )
        if outcome.kind == 'renamed':
            outcome = self._rename(body, outcome)
        return dataclasses.replace(outcome, message=self._redaction.message(outcome.message))

    def _rename(self, body: Mapping[str, Any], fault: Fault) -> Fault:
        """Remembers the other name, unless it was used already or is not ours to choose."""
        if 'max_tokens' in body and not self._settings.extra.keys() & set(extra.LIMITS):
            self._limit_name = 'max_completion_tokens'
            return fault
        return dataclasses.replace(fault, kind='rejected', scope='run')

    async def _send(self, body: dict[str, Any], prompt: str) -> Completion | Fault:
        settings = self._settings
        lost = responses.estimated_usage(prompt, settings.max_tokens)
        try:
            # The client's own limit is on the silence between two bytes, this one on the whole.
            async with asyncio.timeout(settings.timeout):
                response = await self._openai.chat.completions.with_raw_response.create(
                    model=body['model'], messages=body['messages'], extra_body=body
                )
        except openai.APIStatusError as error:
            return responses.read_error(
                error.status_code, _lower(error.response.headers), error.response.content,
                time.time(),
            )  # fmt: skip
        except (openai.APIConnectionError, TooLarge, Unreadable, Redirected) as error:
            return _read_failure(error, lost)
        except TimeoutError:
            return Fault('timeout', f'no answer in {settings.timeout:g} s', usage=lost)
        if response.status_code != 200:
            return Fault('refused', f'status {response.status_code}, expected 200', 'run')
        return responses.read_completion(response.content, prompt, settings.max_tokens)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _read_failure(error: Exception, lost: Usage) -> Fault:
    """Reads what ended a request before there was a response, or the whole of one.

    Args:
      error: as it was raised.
      lost: what the request may have been charged.
    """
    cause = error.__cause__ or error
    if isinstance(cause, Redirected):
        return Fault('redirected', _describe(cause), 'run')
    if isinstance(cause, TooLarge):
        return Fault('too_large', _describe(cause), usage=lost)
    if isinstance(cause, Unreadable):
        return Fault('malformed', _describe(cause), usage=lost)
    # By name: the classes belong to the HTTP library, and OpenAI's client has changed it.
    if type(cause).__name__ in ('ConnectError', 'ConnectTimeout'):
        return Fault('unreachable', _describe(cause))
    kind = 'timeout' if isinstance(error, openai.APITimeoutError) else 'broken'
    return Fault(kind, _describe(cause), usage=lost)


def _describe(error: BaseException) -> str:
    words = responses.shorten(str(error))
    ours = isinstance(error, TooLarge | Unreadable | Redirected)
    return words if ours else f'{type(error).__name__}: {words}'.strip(' :')
