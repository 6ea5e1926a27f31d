"""Downloading a file: whole, checked, and resumed where an earlier attempt ended.

While it comes in, a file is `<path>.partial`, beside notes of which version of the resource it is
the beginning of (`<path>.partial.json`); it becomes `<path>` when it is whole and its digest is
right. Where nobody published a digest, that of the first use is written to `<path>.sha256`, and is
expected from there on.
"""

import dataclasses
import hashlib
import http.client
import itertools
import os
import pathlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from email.message import Message

import tqdm
from absl import logging

from qcrd_jax.errors import InputError, shown
from qcrd_jax.files import read_json, write_json, write_text

MAX_BYTES = 1 << 30
PAUSES = (1.0, 2.0, 4.0)  # seconds before another attempt; after the last one it is given up

_LONGEST_PAUSE = 60.0  # seconds, whatever a server asks for
_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 16
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP statuses worth another attempt
_RANGE = re.compile(r'bytes (?:\d{1,18}-(?P<last>\d{1,18})|\*)/(?:(?P<total>\d{1,18})|\*)')
_HTML = re.compile(rb'(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|body)\b', re.IGNORECASE)


def download(
    url: str, path: pathlib.Path, *, sha256: str | None = None, max_bytes: int = MAX_BYTES
) -> None:
    """Downloads `url` to `path`, unless a file is there, and checks what is there.

    What an earlier attempt left is continued, if the server still has the same version. A
    connection that breaks is tried again as long as every attempt brings something new, else
    `len(PAUSES)` times. Proxies are those of the environment. Two processes must not download to
    the same path at once.

    Args:
      url: what to download.
      path: where to. A file that somebody put there is used.
      sha256: the digest that the file must have, in hexadecimal; None where nobody published one.
      max_bytes: the most that is accepted.

    Raises:
      InputError: if the server cannot be reached or sends something else, if the file cannot be
        written, or if its digest is wrong.
    """
    record = path.with_name(f'{path.name}.sha256')
    expected = sha256 or _recorded(record)
    if path.is_file():
        found = _digest(path)
        if expected and found != expected:
            raise InputError(
                f'{path}: expected SHA-256 {expected}, got {found}. Delete the file to download it '
                f'again{"" if sha256 else f", or {record.name} if the file is the right one"}.'
            )
    else:
        partial = _Partial(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            found = _Transfer(url, partial, expected, max_bytes).complete()
            partial.finish()
        except OSError as error:
            raise InputError(
                f'{partial.path}: cannot be written ({error.strerror}). Make room or choose '
                'another folder, and run again: it continues after what has come so far.'
            ) from error
    if expected is None:
        logging.info('%s: SHA-256 %s, which nobody published', path, found)
        write_text(record, f'{found}  {path.name}\n')  # as `sha256sum --check` reads it


def _digest(path: pathlib.Path) -> str:
    try:
        with open(path, 'rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror}).') from error


def _recorded(record: pathlib.Path) -> str | None:
    """Returns the digest of the first use, if there has been one."""
    if not record.is_file():
        return None
    digest = record.read_text(encoding='utf-8', errors='replace')[:64]
    if not re.fullmatch('[0-9a-f]{64}', digest):
        raise InputError(f'{record}: expected a SHA-256, got {shown(digest)}. Delete it.')
    return digest


# --- What has come so far -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Version:
    """What a server says of a resource, by which its versions are distinguished."""

    url: str
    etag: str = ''
    last_modified: str = ''
    length: int | None = None

    @property
    def validator(self) -> str:
        """What If-Range may hold; a weak ETag promises the same meaning, not the same bytes."""
        return self.last_modified if self.etag.startswith('W/') else self.etag or self.last_modified

    def may_be(self, other: '_Version') -> bool:
        """Whether they agree in everything that both of them say."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return all(mine == theirs for mine, theirs in pairs if mine and theirs)


class _Partial:
    """The beginning of a file, with notes of the version that it is the beginning of."""

    def __init__(self, whole: pathlib.Path):
        self.whole = whole
        self.path = whole.with_name(f'{whole.name}.partial')
        self._notes = whole.with_name(f'{whole.name}.partial.json')

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> _Version | None:
        try:
            return _Version(**read_json(self._notes))
        except (InputError, TypeError):  # missing or damaged: then nothing is known
            return None

    def begin(self, version: _Version) -> None:
        """Empties the file, and only then notes the version: notes are never of other bytes."""
        open(self.path, 'wb').close()
        write_json(self._notes, dataclasses.asdict(version))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def finish(self) -> None:
        os.replace(self.path, self.whole)
        self._notes.unlink(missing_ok=True)


# --- Bringing the rest ----------------------------------------------------------------------------


class _Interrupted(Exception):
    """An attempt that ended before the file was whole, for a reason that may pass."""

    def __init__(self, reason: object, pause: float = 0.0):
        super().__init__(str(reason))
        self.pause = pause  # seconds that the server asks for


@dataclasses.dataclass(frozen=True)
class _Transfer:
    """One download, in as many attempts as it takes."""

    url: str
    partial: _Partial
    expected: str | None
    max_bytes: int

    def complete(self) -> str:
        """Makes the partial file whole and returns its digest."""
        furthest, pauses = self._held()[0], iter(PAUSES)
        while True:
            try:
                return self._attempt()
            except _Interrupted as error:
                if self.partial.size > furthest:
                    furthest, pauses = self.partial.size, iter(PAUSES)
                pause = next(pauses, None)
                if pause is None:
                    raise self._failure(error) from error
                pause = min(max(pause, error.pause), _LONGEST_PAUSE)
                logging.warning('%s: %s; again in %.0f s', self.url, error, pause)
            time.sleep(pause)

    def _attempt(self) -> str:
        start, version = self._held()
        if not (start and start == version.length):
            self._receive(start, version)
        found = _digest(self.partial.path)
        if self.expected and found != self.expected:
            self.partial.discard()
            if start:
                raise _Interrupted('the parts do not make the file that was expected')
            raise self._failure(f'expected SHA-256 {self.expected}, got {found}')
        return found

    def _held(self) -> tuple[int, _Version]:
        """Returns how many bytes need not come again, and of which version they are.

        None of them counts where a change on the server would go unnoticed.
        """
        size, version = self.partial.size, self.partial.version
        if version is None or version.url != self.url:
            return 0, _Version(self.url)
        if not (version.validator or self.expected):
            return 0, _Version(self.url)
        return size, version

    def _receive(self, start: int, held: _Version) -> None:
        """Asks for everything from byte `start` on, and appends it."""
        headers = {'User-Agent': 'qcrd_jax'}
        if start:
            headers['Range'] = f'bytes={start}-'
            if held.validator:
                headers['If-Range'] = held.validator
        request = urllib.request.Request(self.url, headers=headers)
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, start, held)
            return
        except (OSError, http.client.HTTPException) as error:
            raise _Interrupted(getattr(error, 'reason', error)) from error
        with response:
            part = response.status == http.client.PARTIAL_CONTENT
            length = _length(response.headers) if part else response.length
            first = _read(response)
            version = _version(self.url, response.headers, length)
            self._expect_file(response.headers, length, b'' if part else first)
            if part:
                self._expect_part(response.headers, start, version.may_be(held))
            else:
                if start:
                    logging.info('%s: from the beginning: the server sends all of it', self.url)
                start = 0
                self.partial.begin(version)
            self._append(itertools.chain([first], _chunks(response)), start, length)

    def _append(self, chunks: Iterable[bytes], start: int, length: int | None) -> None:
        """Writes what comes as it comes, so that a connection that breaks costs nothing."""
        bar = tqdm.tqdm(
            total=length,
            initial=start,
            desc=self.partial.whole.name,
            unit='B',
            unit_scale=True,
            mininterval=1.0,
        )
        size, most = start, self.max_bytes if length is None else length
        with open(self.partial.path, 'ab') as file, bar:
            for chunk in chunks:
                size += len(chunk)
                if size > most:
                    self.partial.discard()
                    raise self._failure(f'expected at most {most} bytes, more come')
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
        if not size or (length is not None and size < length):
            raise _Interrupted(f'ends after {size} of {length or "?"} bytes')

    def _expect_file(self, headers: Message, length: int | None, first: bytes) -> None:
        """Refuses what is not the file, before anything that has come so far is given up."""
        encoding = headers.get('Content-Encoding', 'identity')
        if headers.get_content_type() == 'text/html' or _HTML.match(first):
            raise self._failure('an HTML page came in place of the file')
        if encoding != 'identity':
            raise self._failure(f'expected plain bytes, got them encoded as {shown(encoding)}')
        if length is not None and length > self.max_bytes:
            raise self._failure(f'expected at most {self.max_bytes} bytes, {length} would come')

    def _expect_part(self, headers: Message, start: int, same_version: bool) -> None:
        """Refuses a part that is not the rest of what has come so far."""
        content_range = headers.get('Content-Range', '')
        if not (start and same_version and content_range.startswith(f'bytes {start}-')):
            self.partial.discard()
            raise _Interrupted(
                f'asked for the bytes from {start} on, got {shown(content_range)} of '
                f'{"the same" if same_version else "another"} version'
            )

    def _refused(self, error: urllib.error.HTTPError, start: int, held: _Version) -> None:
        """Raises what an HTTP status says, unless it says that there is nothing left to send."""
        status = f'HTTP status {error.code}'
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            now = _version(self.url, error.headers, _length(error.headers))
            if now.length == start and now.may_be(held):
                return
            self.partial.discard()
            raise _Interrupted(f'{status}: there is nothing from byte {start} on')
        if error.code in _PASSING:
            wait = error.headers.get('Retry-After', '')
            raise _Interrupted(status, float(wait) if wait.isdecimal() else 0.0)
        raise self._failure(status)

    def _failure(self, reason: object) -> InputError:
        return InputError(
            f'{self.url} cannot be downloaded ({reason}). Fetch it elsewhere, put it at '
            f'{self.partial.whole} and run again.'
        )


def _version(url: str, headers: Message, length: int | None) -> _Version:
    return _Version(url, headers.get('ETag', ''), headers.get('Last-Modified', ''), length)


def _length(headers: Message) -> int | None:
    """Returns the length of the whole resource that a part is of, as far as its range says it."""
    match = _RANGE.fullmatch(headers.get('Content-Range', ''))
    if match is None:
        return None
    if match['total']:
        return int(match['total'])
    return int(match['last']) + 1 if match['last'] else None


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := _read(response):
        yield chunk


def _read(response: http.client.HTTPResponse) -> bytes:
    """Returns what has come, and nothing at the end."""
    try:
        return response.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(error) from error
