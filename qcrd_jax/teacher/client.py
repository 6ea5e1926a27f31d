"""One request to an OpenAI-compatible server, through OpenAI's own client."""

import asyncio
import dataclasses
import logging
import os
import re
import time
import urllib.parse
from collections.abc import Mapping

import openai
from ml_collections import config_dict

from qcrd_jax.errors import InputError
from qcrd_jax.files import without_surrogates
from qcrd_jax.teacher import responses
from qcrd_jax.teacher.responses import Completion, Fault

DEFAULT_URL = 'https://api.openai.com/v1'
DEFAULT_MODEL = 'gpt-3.5-turbo'  # the paper's (section 4.1)

_CONNECT_TIMEOUT = 10.0  # seconds
_NO_KEY = 'none'  # what a server is sent that asks for no key
_HIDDEN = '<key>'
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
      max_tokens: of one answer.
      timeout: seconds that one request may take in all.
      attempts: requests for one record before it is given up.
      concurrency: requests in flight.
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
          InputError: if the address is none, or OpenAI's own server would be asked without a key.
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
        return cls(
            base_url=url.rstrip('/'),
            model=model_of(teacher, environ),
            key=key,
            key_variable=teacher.key_variable,
            temperature=float(teacher.temperature if temperature is None else temperature),
            max_tokens=teacher.max_tokens if max_tokens is None else max_tokens,
            timeout=float(teacher.timeout),
            attempts=teacher.attempts,
            concurrency=teacher.concurrency,
        )


def model_of(teacher: config_dict.ConfigDict, environ: Mapping[str, str] = os.environ) -> str:
    """Returns the model to ask: the configuration's, else $OPENAI_MODEL, else the paper's."""
    return teacher.model or environ.get('OPENAI_MODEL') or DEFAULT_MODEL


def _check_url(url: str, where: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise InputError(
            f'{where}: an address with credentials or a query would be written to files and '
            'messages. Give the key by the environment variable of --config.teacher.key_variable.'
        )
    if parts.scheme not in ('http', 'https') or not parts.hostname:
        raise InputError(f'{where}: expected an address like {DEFAULT_URL}, got {url!r}.')


class Client:
    """Asks a server, once per call. Nothing is retried here, and nothing raised by the network."""

    def __init__(self, settings: Settings):
        self._settings = settings
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
        )

    async def __aenter__(self) -> 'Client':
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._openai.close()

    async def ask(self, prompt: str) -> Completion | Fault:
        """Sends the prompt as one user's message and returns the answer, or what came instead."""
        outcome = await self._ask(without_surrogates(prompt))
        # A server may repeat in its words what it was sent.
        if isinstance(outcome, Completion):
            return dataclasses.replace(
                outcome, text=self._hide_key(outcome.text), model=self._hide_key(outcome.model)
            )
        return dataclasses.replace(outcome, message=self._hide_key(outcome.message))

    async def _ask(self, prompt: str) -> Completion | Fault:
        settings = self._settings
        lost = responses.estimated_usage(prompt, settings.max_tokens)
        try:
            # The client's own limit is on the silence between two bytes, this one on the whole.
            async with asyncio.timeout(settings.timeout):
                response = await self._openai.chat.completions.with_raw_response.create(
                    model=settings.model,
                    messages=[{'role': 'user', 'content': prompt}],
                    temperature=settings.temperature,
                    max_tokens=settings.max_tokens,
                )
        except openai.APIStatusError as error:
            return responses.read_error(
                error.status_code, _lower(error.response.headers), error.response.content,
                time.time(),
            )  # fmt: skip
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            # By name: the classes belong to the HTTP library, and OpenAI's client has changed it.
            if type(cause).__name__ in ('ConnectError', 'ConnectTimeout'):
                return Fault('unreachable', _describe(cause))
            kind = 'timeout' if isinstance(error, openai.APITimeoutError) else 'broken'
            return Fault(kind, _describe(cause), usage=lost)
        except TimeoutError:
            return Fault('timeout', f'no answer in {settings.timeout:g} s', usage=lost)
        if response.status_code != 200:
            return Fault('refused', f'status {response.status_code}, expected 200', 'run')
        return responses.read_completion(response.content, prompt, settings.max_tokens)

    def _hide_key(self, text: str) -> str:
        return text.replace(self._settings.key, _HIDDEN) if self._settings.key else text


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _describe(error: BaseException) -> str:
    return f'{type(error).__name__}: {error}'[:200].strip(' :')
