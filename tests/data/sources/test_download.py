"""Downloads from a server on this machine that resumes, breaks, lies and changes its mind."""

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from qcrd_jax.data.sources import download as downloads
from qcrd_jax.data.sources.download import download
from qcrd_jax.errors import InputError
from tests.support.download_server import DATA, breaking, replying

DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(downloads, 'PAUSES', (0.0, 0.0, 0.0))
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'folder' / 'data.bin'


def names(path):
    return sorted(file.name for file in path.parent.iterdir())


def test_a_file_comes_whole_and_is_not_asked_for_again(server, path):
    download(server.url, path, sha256=DIGEST)
    assert path.read_bytes() == DATA
    assert names(path) == ['data.bin']  # nothing beside it
    download(server.url, path, sha256=DIGEST)
    assert server.asked == [(None, None)]


def test_a_connection_that_breaks_goes_on_where_it_broke(server, path):
    # More breaks than there are pauses: each attempt brings something new.
    places = [100_000, 130_000, 150_000, 170_000, 170_001, 200_000]
    starts = [0, *places[:-1]]
    server.faults = [breaking(stop - start) for start, stop in zip(starts, places, strict=True)]
    download(server.url, path)
    assert path.read_bytes() == DATA
    assert server.asked == [(None, None), *((f'bytes={place}-', '"1"') for place in places)]


def test_a_connection_that_brings_nothing_new_is_given_up(server, path):
    server.faults = [breaking(1000)] + [breaking(0)] * 10
    with pytest.raises(InputError, match='ends after 1000 of 256000 bytes') as raised:
        download(server.url, path)
    assert len(server.asked) == 4  # the one that brought something, and one after each pause
    assert f'put it at {path} and run again' in str(raised.value)
    # The next call continues all the same.
    server.faults = []
    download(server.url, path)
    assert server.asked[-1] == ('bytes=1000-', '"1"')
    assert path.read_bytes() == DATA


def test_without_a_content_length_the_end_is_the_end(server, path):
    server.faults = [replying(200, DATA, Content_Length=None)]
    download(server.url, path)
    assert path.read_bytes() == DATA


def test_a_chunked_body_that_breaks_off_is_no_whole_file(server, path):
    def half(handler):
        handler.protocol_version = 'HTTP/1.1'
        chunk = b'%x\r\n%b\r\n' % (1000, DATA[:1000])
        handler.reply(200, chunk, {'Content-Length': None, 'Transfer-Encoding': 'chunked'})

    server.faults = [half]
    download(server.url, path)
    assert path.read_bytes() == DATA
    assert server.asked == [(None, None), ('bytes=1000-', '"1"')]


@pytest.mark.parametrize(
    ('headers', 'validator'),
    [
        ({'ETag': '"1"', 'Last-Modified': 'Mon, 02 Jan 2023 00:00:00 GMT'}, '"1"'),
        (
            {'ETag': 'W/"1"', 'Last-Modified': 'Mon, 02 Jan 2023 00:00:00 GMT'},
            'Mon, 02 Jan 2023 00:00:00 GMT',
        ),
        ({'Last-Modified': 'Mon, 02 Jan 2023 00:00:00 GMT'}, 'Mon, 02 Jan 2023 00:00:00 GMT'),
    ],
)
def test_what_says_that_the_version_is_still_the_same(headers, validator, server, path):
    server.headers = headers
    server.faults = [breaking(1000)]
    download(server.url, path)
    assert server.asked[1] == ('bytes=1000-', validator)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize('headers', [{}, {'ETag': 'W/"1"'}])
def test_nothing_is_resumed_where_a_change_would_go_unnoticed(headers, server, path):
    server.headers = headers
    server.faults = [breaking(1000)]
    download(server.url, path)
    assert server.asked == [(None, None), (None, None)]
    # A digest would notice.
    path.unlink()
    server.faults = [breaking(1000)]
    download(server.url, path, sha256=DIGEST)
    assert server.asked[2:] == [(None, None), ('bytes=1000-', None)]
    assert path.read_bytes() == DATA


def test_a_new_version_comes_from_the_beginning(server, path):
    server.faults = [breaking(1000), replying(404)]
    with pytest.raises(InputError, match='HTTP status 404'):
        download(server.url, path)
    server.data, server.headers = DATA[::-1], {'ETag': '"2"'}
    download(server.url, path)
    assert server.asked[2:] == [('bytes=1000-', '"1"')]
    assert path.read_bytes() == DATA[::-1]


def test_a_server_that_cannot_resume_sends_everything(server, path):
    server.faults = [breaking(1000), replying(200, DATA)]
    download(server.url, path)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize(
    'headers',
    [
        {'Content_Range': 'bytes 999-255999/256000'},
        {'Content_Range': 'bytes 1001-255999/256000'},
        {'Content_Range': None},
        {'Content_Range': 'bytes nonsense'},
        {'Content_Range': 'bytes */*'},
        {'Content_Range': 'bytes 1000-255999/256000', 'ETag': '"2"'},
        {'Content_Range': 'bytes 1000-255999/256001'},
    ],
)
def test_a_part_that_is_not_the_rest_is_not_appended(headers, server, path):
    server.faults = [breaking(1000), replying(206, DATA[1000:], **headers)]
    download(server.url, path)
    assert path.read_bytes() == DATA
    assert server.asked[2] == (None, None)


def test_a_part_that_nobody_asked_for_is_no_file(server, path):
    server.faults = [
        replying(206, DATA[:1000], Content_Range='bytes 0-999/256000') for _ in range(4)
    ]
    with pytest.raises(InputError, match='asked for the bytes from 0 on'):
        download(server.url, path)


def test_a_part_of_unknown_length_is_the_rest(server, path):
    rest = {'Content-Range': 'bytes 1000-255999/*'}
    server.faults = [
        breaking(1000),
        lambda handler: handler.reply(206, DATA[1000:], rest, send=0),
        lambda handler: handler.reply(206, DATA[1000:], rest),
    ]
    download(server.url, path)
    assert path.read_bytes() == DATA
    assert len(server.asked) == 3


def test_killed_between_the_last_byte_and_the_end(server, path):
    path.parent.mkdir()
    partial = downloads._Partial(path)
    partial.begin(downloads._Version(server.url, '"1"', length=len(DATA)))
    partial.path.write_bytes(DATA)
    download(server.url, path)
    assert path.read_bytes() == DATA
    assert server.asked == []  # the length was known


@pytest.mark.parametrize(('held', 'requests'), [(DATA, 1), (DATA + b'x', 2)])
def test_status_416_says_whether_the_file_is_whole(held, requests, server, path):
    path.parent.mkdir()
    partial = downloads._Partial(path)
    partial.begin(downloads._Version(server.url, '"1"'))
    partial.path.write_bytes(held)
    download(server.url, path)
    assert path.read_bytes() == DATA
    assert len(server.asked) == requests


def test_status_416_of_another_version_says_nothing(server, path):
    path.parent.mkdir()
    partial = downloads._Partial(path)
    partial.begin(downloads._Version(server.url, '"1"'))
    partial.path.write_bytes(DATA[::-1])
    server.headers = {'ETag': '"2"'}
    server.faults = [replying(416, Content_Range='bytes */256000')]
    download(server.url, path)
    assert path.read_bytes() == DATA


def test_parts_that_do_not_fit_together_are_noticed_by_their_digest(server, path):
    path.parent.mkdir()
    partial = downloads._Partial(path)
    partial.begin(downloads._Version(server.url, '"1"', length=len(DATA)))
    partial.path.write_bytes(b'\0' * 1000)  # as after a power cut
    download(server.url, path, sha256=DIGEST)
    assert path.read_bytes() == DATA
    assert server.asked == [('bytes=1000-', '"1"'), (None, None)]


@pytest.mark.parametrize(
    'notes', ['', '{', '[]', '{"nonsense": 1}', '{"url": "http://other/", "etag": "\\"1\\""}']
)
def test_without_good_notes_a_partial_file_is_not_gone_on_with(notes, server, path):
    path.parent.mkdir()
    (path.parent / 'data.bin.partial').write_bytes(b'x' * 1000)
    (path.parent / 'data.bin.partial.json').write_text(notes)
    download(server.url, path)
    assert path.read_bytes() == DATA
    assert server.asked == [(None, None)]


def test_a_wrong_digest_leaves_no_file(server, path):
    wrong = DIGEST[::-1]
    with pytest.raises(InputError, match=f'expected SHA-256 {wrong}, got {DIGEST}'):
        download(server.url, path, sha256=wrong)
    assert names(path) == []
    assert len(server.asked) == 1


def test_an_unknown_digest_is_recorded_and_expected_from_there_on(server, path):
    download(server.url, path)
    record = path.parent / 'data.bin.sha256'
    assert record.read_text() == f'{DIGEST}  data.bin\n'
    path.write_bytes(b'changed')
    with pytest.raises(InputError, match=f'{DIGEST}.*or data.bin.sha256 if the file is the right'):
        download(server.url, path)
    # Also of a new download.
    path.unlink()
    server.data = b'changed'
    with pytest.raises(InputError, match=f'expected SHA-256 {DIGEST}'):
        download(server.url, path)
    assert not path.exists()
    record.write_text('nonsense')
    with pytest.raises(InputError, match='expected a SHA-256, got'):
        download(server.url, path)


def test_a_file_put_there_by_hand_is_used_if_it_is_the_right_one(path):
    path.parent.mkdir()
    path.write_bytes(DATA)
    nowhere = 'http://127.0.0.1:9/data.bin'
    download(nowhere, path, sha256=DIGEST)
    download(nowhere, path)
    assert (path.parent / 'data.bin.sha256').read_text().startswith(DIGEST)
    with pytest.raises(InputError, match='Delete the file to download it again'):
        download(nowhere, path, sha256=DIGEST[::-1])


def test_passing_faults_are_tried_again(server, path, monkeypatch):
    slept = []
    monkeypatch.setattr(downloads.time, 'sleep', slept.append)
    monkeypatch.setattr(downloads, 'PAUSES', (1.0, 2.0, 4.0))
    server.faults = [
        replying(503, b'<html>busy</html>', Content_Type='text/html', Retry_After='7'),
        replying(429, Retry_After='9999'),
        replying(500, Retry_After='Fri, 31 Dec 1999 23:59:59 GMT'),
    ]
    download(server.url, path)
    assert path.read_bytes() == DATA
    assert slept == [7.0, 60.0, 4.0]


@pytest.mark.parametrize(
    ('fault', 'reason'),
    [
        (replying(404, b'<html>no</html>', Content_Type='text/html'), 'HTTP status 404'),
        (replying(403), 'HTTP status 403'),
        (replying(200, b'<p>Sign in</p>', Content_Type='text/html; charset=utf-8'), 'HTML page'),
        (replying(200, b'\n <!DOCTYPE html><p>Sign in'), 'HTML page'),
        (replying(200, b'\x1f\x8b', Content_Encoding='gzip'), "encoded as 'gzip'"),
        (replying(200, DATA * 2), 'expected at most 300000 bytes, 512000 would come'),
        (replying(200, DATA * 2, Content_Length=None), 'expected at most 300000 bytes, more come'),
    ],
)
def test_what_is_not_the_file_is_refused_at_once(fault, reason, server, path):
    server.faults = [fault]
    with pytest.raises(InputError, match=reason):
        download(server.url, path, max_bytes=300_000)
    assert len(server.asked) == 1
    assert not path.exists()


def test_a_page_in_place_of_the_file_does_not_cost_what_has_come(server, path):
    server.faults = [breaking(1000), replying(200, b'<html>Sign in', Content_Type='text/html')]
    with pytest.raises(InputError, match='HTML page'):
        download(server.url, path)
    download(server.url, path)
    assert server.asked[2] == ('bytes=1000-', '"1"')


def test_a_tag_in_the_middle_is_no_page(server, path):
    server.data = DATA[:1000] + b'<html>' + DATA[1006:]
    server.faults = [breaking(1000)]
    download(server.url, path)
    assert path.read_bytes() == server.data
    assert len(server.asked) == 2


def test_an_empty_answer_is_no_file(server, path):
    server.data = b''
    with pytest.raises(InputError, match='ends after 0 of'):
        download(server.url, path)


def test_offline(path):
    with pytest.raises(InputError, match=r'Connection refused.*put it at .*data\.bin and run'):
        download('http://127.0.0.1:9/data.bin', path)
    assert names(path) == []


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs a device that is always full')
def test_a_full_disk(server, path):
    path.parent.mkdir()
    (path.parent / 'data.bin.partial').symlink_to('/dev/full')
    with pytest.raises(InputError, match=r'No space left on device.*Make room'):
        download(server.url, path)


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / 'folder').write_text('in the way')
    with pytest.raises(InputError, match='cannot be written'):
        download(server.url, tmp_path / 'folder' / 'data.bin')


def test_killed_in_the_middle_and_run_again(server, path):
    """kill -9 while a slow server sends: the next process asks for the rest only."""

    def slowly(handler):
        def write(data):
            for place in range(0, len(data), 10_000):
                handler.connection.sendall(data[place : place + 10_000])
                time.sleep(0.02)

        handler.wfile.write = write
        handler.answer()

    server.faults = [slowly]
    code = f"""
        import pathlib
        from qcrd_jax.data.sources.download import download
        download({server.url!r}, pathlib.Path({str(path)!r}), sha256={DIGEST!r})
    """
    command = [sys.executable, '-c', textwrap.dedent(code)]
    partial = path.parent / 'data.bin.partial'
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (partial.exists() and partial.stat().st_size > 50_000):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    size = partial.stat().st_size
    assert 50_000 < size < len(DATA)
    assert partial.read_bytes() == DATA[:size]
    assert not path.exists()

    subprocess.run(command, check=True, capture_output=True)
    assert path.read_bytes() == DATA
    assert server.asked == [(None, None), (f'bytes={size}-', '"1"')]
    assert names(path) == ['data.bin']
