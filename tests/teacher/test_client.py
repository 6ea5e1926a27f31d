"""One request over real HTTP: what is sent, what is learned, what no server can do to us."""

import asyncio
import json
import os
import subprocess
import sys
import zlib

import pytest

from qcrd_jax.teacher.client import Client, Settings
from qcrd_jax.teacher.responses import Completion, Usage
from qcrd_jax.teacher.transport import most_bytes
from tests.support.dialect_server import (
    GIB,
    MIB,
    DialectServer,
    Reply,
    answer,
    bomb,
    endless,
    error,
)

KEY = 'sk-secret-0123456789'
GOOD = Completion('It is 4.', 'stop', Usage(7, 5), 'served')
LIMIT = most_bytes(60)

pytestmark = pytest.mark.usefixtures('teacher_environment')


def settings(url, **changes):
    fields = {
        'base_url': url, 'model': 'a-model', 'key': KEY, 'key_variable': 'TEACHER_KEY',
        'temperature': 0.7, 'max_tokens': 60, 'timeout': 30.0, 'attempts': 3, 'concurrency': 4,
    }  # fmt: skip
    return Settings(**fields | changes)


def ask(server, times=1, **changes):
    """What one client is answered, one request after the other."""

    async def run():
        async with Client(settings(server.url, **changes)) as client:
            return [await client.ask('Q?') for _ in range(times)]

    return asyncio.run(run())


def reply_to(reply, **changes):
    with DialectServer(lambda asked: reply) as server:
        return ask(server, **changes)[0]


def test_a_request_is_the_settings_and_the_prompt():
    with DialectServer(lambda asked: Reply(answer('It is 4.'))) as server:
        assert ask(server, extra={'temperature': None, 'top_p': 0.9}) == [GOOD]
        assert server.asked == [
            {
                'model': 'a-model',
                'messages': [{'role': 'user', 'content': 'Q?'}],
                'max_tokens': 60,
                'top_p': 0.9,
            }
        ]
        (headers,) = server.headers
    assert headers['authorization'] == f'Bearer {KEY}'
    assert headers['accept-encoding'] == 'identity'


# --- the name of the limit


def only_completion_tokens(asked):
    if 'max_tokens' in asked:
        return error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.", param='max_tokens', code='unsupported_parameter',
        )  # fmt: skip
    return Reply(answer('It is 4.'))


def test_the_other_name_of_the_limit_is_remembered():
    with DialectServer(only_completion_tokens) as server:
        first, *others = ask(server, times=4)
        names = [{'max_tokens', 'max_completion_tokens'} & asked.keys() for asked in server.asked]
        assert all(asked.get('max_completion_tokens', 60) == 60 for asked in server.asked)
    assert (first.kind, first.scope, first.usage) == ('renamed', 'request', None)
    assert others == [GOOD] * 3
    assert names == [{'max_tokens'}] + [{'max_completion_tokens'}] * 3


def test_requests_that_were_in_flight_learn_it_as_well():
    async def run(server):
        async with Client(settings(server.url)) as client:
            first = await asyncio.gather(*(client.ask('Q?') for _ in range(8)))
            return first, await asyncio.gather(*(client.ask('Q?') for _ in range(8)))

    with DialectServer(only_completion_tokens) as server:
        first, second = asyncio.run(run(server))
    assert {outcome.scope for outcome in first} <= {'request'}
    assert second == [GOOD] * 8


def test_a_server_that_takes_neither_name_is_not_asked_for_ever():
    reply = error("'max_completion_tokens' and 'max_tokens' are not supported")
    with DialectServer(lambda asked: reply) as server:
        outcomes = ask(server, times=3)
    assert [(o.kind, o.scope) for o in outcomes] == [
        ('renamed', 'request'), ('rejected', 'run'), ('rejected', 'run'),
    ]  # fmt: skip


@pytest.mark.parametrize('extra', [{'max_tokens': 9}, {'max_tokens': None}])
def test_a_name_that_was_chosen_is_kept(extra):
    reply = error("'max_tokens' is not supported, use 'max_completion_tokens'")
    outcome = reply_to(reply, extra=extra)
    assert (outcome.kind, outcome.scope) == ('rejected', 'run')


# --- the key


def test_a_key_is_hidden_in_all_that_a_server_says():
    body = answer(f'It is {KEY}.', f'stop {KEY}', reasoning=f'Is it {KEY}?')
    body = body.replace(b'"served"', f'"{KEY}"'.encode())
    outcome = reply_to(Reply(body))
    assert KEY not in repr(outcome)
    assert (outcome.text, outcome.reasoning) == ('It is <key>.', 'Is it <key>?')
    for status in (200, 400, 401, 500):
        fault = reply_to(error(f'wrong: {KEY}', status))
        assert fault.message.endswith('wrong: <key>')
    fault = reply_to(error('a ' * 142 + KEY))
    assert fault.message.endswith('a <key>...')
    fault = reply_to(Reply(status=307, headers={'Location': f'http://x/?key={KEY}'}))
    assert fault.message == '307: a redirect to http://x/?key=<key>'


@pytest.mark.parametrize('key', ['none', '42', '4'])
def test_a_short_key_alters_no_answer(key):
    outcome = reply_to(Reply(answer('There are none, 42 or 4.', reasoning='none? 42? 4?')), key=key)
    assert (outcome.text, outcome.reasoning) == ('There are none, 42 or 4.', 'none? 42? 4?')


# --- redirects


@pytest.mark.parametrize(
    ('status', 'location'),
    [
        (307, 'http://localhost:{port}/v1/chat/completions'),  # another name is another host
        (308, 'http://127.0.0.1:1/v1/chat/completions'),
        (307, 'https://127.0.0.1:{port}/v1/chat/completions'),
        (307, '//127.0.0.2:{port}/v1/chat/completions'),
        (307, 'http://me:word@127.0.0.1:{port}/v1/chat/completions'),
        (301, '/v1/other'),  # would be asked again without what is asked
        (302, '/v1/other'),
        (303, '/v1/other'),
        (307, 'http://[::1'),
        (307, 'file:///etc/passwd'),
        (307, None),
        (304, None),
    ],
)
def test_a_redirect_elsewhere_is_refused(status, location):
    def reply(asked):
        headers = {} if location is None else {'Location': location.format(port=server.port)}
        return Reply(status=status, headers=headers)

    with DialectServer(reply) as server:
        (fault,) = ask(server)
        assert len(server.asked) == 1
    assert (fault.kind, fault.scope, fault.usage) == ('redirected', 'run', None)
    assert fault.message.startswith(f'{status}: a redirect to ')


@pytest.mark.parametrize('absolute', [True, False])
def test_a_redirect_within_the_server_is_followed(absolute):
    def reply(asked):
        if len(server.asked) > 1:
            return Reply(answer('It is 4.'))
        host = f'http://127.0.0.1:{server.port}' if absolute else ''
        return Reply(b'moved', 307, {'Location': f'{host}/v1/elsewhere'})

    with DialectServer(reply) as server:
        assert ask(server) == [GOOD]
        assert server.paths == ['/v1/chat/completions', '/v1/elsewhere']
        assert server.asked[0] == server.asked[1]
        assert [headers['authorization'] for headers in server.headers] == [f'Bearer {KEY}'] * 2


def test_a_redirect_in_a_circle_ends():
    with DialectServer(lambda asked: Reply(status=308, headers={'Location': '?x'})) as server:
        (fault,) = ask(server)
        assert len(server.asked) == 4
    assert (fault.kind, fault.scope) == ('redirected', 'run')
    assert fault.message.startswith('more than 3 redirects, the last to http://127.0.0.1')


# --- bytes


@pytest.mark.parametrize(
    'coding', ['gzip', 'x-gzip', 'GZip', 'deflate', 'identity', 'identity, gzip']
)
def test_a_compression_that_nobody_asked_for_is_read(coding):
    body = answer('It is 4.')
    window = 31 if 'zip' in coding.lower() else 15
    packed = body if coding == 'identity' else zlib.compress(body, wbits=window)
    assert reply_to(Reply(packed, headers={'Content-Encoding': coding})) == GOOD


def test_a_bare_deflate_is_read():
    packed = zlib.compress(answer('It is 4.'), wbits=-15)
    assert reply_to(Reply(packed, headers={'Content-Encoding': 'deflate'})) == GOOD


@pytest.mark.parametrize('coding', ['br', 'zstd', 'gzip, gzip', 'deflate, br', 'gzip'])
def test_a_compression_that_cannot_be_read_is_a_fault(coding):
    fault = reply_to(Reply(b'\x00\x01\x02', headers={'Content-Encoding': coding}))
    assert (fault.kind, fault.scope) == ('malformed', 'attempt')
    assert fault.usage == Usage(1, 60, estimated=True)
    # Of an error the status still says what it is.
    fault = reply_to(Reply(b'\x00\x01', 503, {'Content-Encoding': coding}))
    assert (fault.kind, fault.message) == ('server_error', '503: no reason given')


def test_an_answer_as_long_as_the_limit_is_read_and_a_longer_one_is_not():
    padding = LIMIT - len(answer(''))
    assert len(reply_to(Reply(answer('a' * padding))).text) == padding
    for reply in (
        Reply(answer('a' * (padding + 1))),
        Reply(iter([answer('a' * (padding + 1))])),
        Reply(zlib.compress(answer('a' * (padding + 1)), wbits=31), 200,
              {'Content-Encoding': 'gzip'}),
    ):  # fmt: skip
        assert reply_to(reply).kind == 'too_large'


def test_a_larger_limit_of_tokens_allows_more_bytes():
    assert most_bytes(60) == 4 * MIB + 60 * 1024
    assert most_bytes(32_768) == 36 * MIB
    assert most_bytes(10**9) == 64 * MIB


def test_the_words_of_a_long_error_are_read():
    fault = reply_to(Reply(endless(start=b'It broke. '), 500))
    assert fault.message.startswith('500: It broke. aaa')
    assert len(fault.message) < 320


FLOODS = {
    'declared': lambda: Reply(endless(), length=GIB),
    'declared, beyond all measure': lambda: Reply(endless(), length=10**18),
    'chunked': lambda: Reply(endless()),
    'until the end': lambda: Reply(endless(), chunked=False),
    'an error': lambda: Reply(endless(), 500),
    'an error, declared': lambda: Reply(endless(), 429, length=GIB),
    'a redirect': lambda: Reply(endless(), 307, {'Location': '/v1/chat/completions'}),
    'gzip': lambda: Reply(bomb(31), 200, {'Content-Encoding': 'gzip'}),
    'gzip in an error': lambda: Reply(bomb(31), 503, {'Content-Encoding': 'gzip'}),
    'deflate': lambda: Reply(bomb(15), 200, {'Content-Encoding': 'deflate'}),
    'bare deflate': lambda: Reply(bomb(-15), 200, {'Content-Encoding': 'deflate'}),
    'gzip twice': lambda: Reply(
        zlib.compress(bomb(31), wbits=31), 200, {'Content-Encoding': 'gzip, gzip'}
    ),
    'brotli, as it says': lambda: Reply(endless(), 200, {'Content-Encoding': 'br'}),
    'a stream of events': lambda: Reply(endless(start=b'data: {"x": "')),
}

_DRIVER = """
import asyncio, json, re, sys
from qcrd_jax.teacher.client import Client, Settings

def most_kib():
    with open('/proc/self/status') as file:
        return int(re.search('VmHWM:\\s*(\\d+) kB', file.read())[1])

async def run(url):
    settings = Settings(
        base_url=url, model='m', key='', key_variable='K', temperature=0.7, max_tokens=512,
        timeout=60.0, attempts=1, concurrency=8,
    )
    async with Client(settings) as client:
        await asyncio.gather(*(client.ask('ok') for _ in range(8)))
        for name in json.load(sys.stdin):
            before = most_kib()
            outcomes = await asyncio.gather(*(client.ask(name) for _ in range(8)))
            print(json.dumps([name, [o.kind for o in outcomes], most_kib() - before]), flush=True)

asyncio.run(run(sys.argv[1]))
"""


@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='memory is read there')
def test_no_flood_of_bytes_fills_the_memory():
    def reply(asked):
        name = asked['messages'][0]['content']
        return FLOODS[name]() if name in FLOODS else Reply(answer('It is 4.'))

    with DialectServer(reply) as server:
        run = subprocess.run(
            [sys.executable, '-c', _DRIVER, server.url],
            input=json.dumps(list(FLOODS)), capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        sent = server.sent
    kinds, grown = {}, 0
    for line in run.stdout.splitlines():
        name, of_each, kib = json.loads(line)
        (kinds[name],) = set(of_each)
        grown += kib
    print(f'\n{run.stdout}{sent >> 20} MiB sent, {grown >> 10} MiB more memory')
    assert kinds == dict.fromkeys(FLOODS, 'too_large') | {
        'an error': 'server_error',
        'an error, declared': 'rate_limit',
        'gzip in an error': 'server_error',
        'a redirect': 'redirected',
        'brotli, as it says': 'malformed',
        'gzip twice': 'malformed',
    }
    # Eight at once, of at most 4.5 MiB each, of 112 GiB that were offered.
    assert grown < 100 << 10
    assert sent < 3 * GIB
