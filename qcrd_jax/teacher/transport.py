"""HTTP that a server can neither fill the memory by nor send the key elsewhere by.

OpenAI's client reads whatever comes, to its end, and follows every redirect. Here a body is read
and decompressed up to a limit, and a redirect is followed within one origin only.
"""

import zlib
from typing import Any

import openai

_MAX_ERROR = 1 << 16  # bytes of an error's body: more is no help to anyone
_LEAST = 4 << 20  # bytes that any answer may have
_PER_TOKEN = 1 << 10  # bytes: a token in a stream is a JSON object of its own
_MOST = 64 << 20  # bytes, whatever the limit of tokens
_MAX_REDIRECTS = 3
_STREAMED: dict[str, Any] = {'stream': True, 'follow_redirects': False}
_KEPT = (307, 308)  # redirects that repeat the request as it is; the others make a GET of it
# What zlib calls them; some servers leave the header out of what they call deflate.
_GZIP = (zlib.MAX_WBITS | 16,)
_WINDOWS = {
    'gzip': _GZIP,
    'x-gzip': _GZIP,
    'deflate': (zlib.MAX_WBITS, -zlib.MAX_WBITS),
}


class TooLarge(Exception):
    """A body that has more bytes than any answer."""


class Unreadable(Exception):
    """A body in a compression that was not asked for and is not known."""


class Redirected(Exception):
    """A redirect that is not followed."""


def most_bytes(max_tokens: int) -> int:
    """Returns how many bytes a response may have whose answer has so many tokens at most.

    Examples:
      >>> most_bytes(512) == (4 << 20) + (512 << 10)
      True
      >>> most_bytes(10**9) == 64 << 20
      True
    """
    return min(_LEAST + max_tokens * _PER_TOKEN, _MOST)


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """The HTTP client of OpenAI's own, with limits.

    Args:
      limit: bytes of a body, as it comes and decompressed; of an error's, only the first 64 KiB
        are read.
    """

    def __init__(self, limit: int):
        super().__init__(follow_redirects=False)
        self._limit = limit

    async def send(self, request: Any, **kwargs: Any) -> Any:
        """Sends the request and returns the response with its body.

        Raises:
          TooLarge: if the body exceeds the limit.
          Unreadable: if it is compressed in an unknown way.
          Redirected: if it is a redirect to another origin, or none that can be followed.
        """
        for _ in range(_MAX_REDIRECTS + 1):
            response = await super().send(request, **{**kwargs, **_STREAMED})
            try:
                if not 300 <= response.status_code < 400:
                    body = await self._read(response)
                    break
                request = _follow(response)
            finally:
                await response.aclose()
        else:
            raise Redirected(f'more than {_MAX_REDIRECTS} redirects, the last to {request.url}')
        headers = [
            (name, value)
            for name, value in response.headers.multi_items()
            if name.lower() not in ('content-encoding', 'content-length', 'transfer-encoding')
        ]
        return type(response)(
            response.status_code, headers=headers, content=body, request=response.request
        )

    async def _read(self, response: Any) -> bytes:
        """Reads the body; of an error as much as is shown, of an answer all or nothing."""
        partial = response.status_code >= 400
        limit = _MAX_ERROR if partial else self._limit
        named = response.headers.get('content-encoding', '').lower().split(',')
        codings = [coding.strip() for coding in named if coding.strip() not in ('', 'identity')]
        declared = response.headers.get('content-length', '')
        try:
            windows = _windows(codings)
            if not partial and declared.isdecimal() and int(declared) > limit:
                raise TooLarge(f'a body of {declared} bytes, more than {limit}')
            data = bytearray()  # and no list, which chunks of two bytes would make a long one
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > limit:
                    break
            body = _inflate(data, windows, limit) if windows else bytes(data)
        except Unreadable:
            if partial:
                return b''  # the status says enough
            raise
        if max(len(body), len(data)) > limit and not partial:
            raise TooLarge(f'a body of more than {limit} bytes')
        return body[:limit]


def _windows(codings: list[str]) -> tuple[int, ...]:
    """What zlib calls the ways in which a body may be compressed; none: it is not."""
    if len(codings) > 1 or (codings and codings[0] not in _WINDOWS):
        raise Unreadable(f'a body compressed as {", ".join(codings)!r}, which was not asked for')
    return _WINDOWS[codings[0]] if codings else ()


def _inflate(data: bytearray, windows: tuple[int, ...], limit: int) -> bytes:
    """Decompresses as much as shows whether it exceeds the limit."""
    for window in windows:
        try:
            return zlib.decompressobj(window).decompress(data, limit + 1)
        except zlib.error:
            continue
    raise Unreadable('a body that cannot be decompressed')


def _follow(response: Any) -> Any:
    """Returns the request that a redirect within its origin asks for."""
    here, request = response.request.url, response.next_request
    if request is not None and response.status_code in _KEPT and not request.url.userinfo:
        there = request.url
        if (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port):
            return request
    location = response.headers.get('location', 'nowhere')
    raise Redirected(f'{response.status_code}: a redirect to {location}')
