"""Every kind of response is called what it is, and charged what it may have cost."""

import json
import math

import pytest

from qcrd_jax.teacher import responses
from qcrd_jax.teacher.responses import Completion, Fault, Usage

PROMPT = 'x' * 30  # 30 bytes: estimated at 10 tokens
COUNTED = Usage(7, 5)


def body(**changes):
    """A good response, with some of its fields changed or, if None, left out."""
    value = {
        'model': 'm-2024',
        'choices': [{'finish_reason': 'stop', 'message': {'content': 'It is 4.'}}],
        'usage': {'prompt_tokens': 7, 'completion_tokens': 5, 'total_tokens': 12},
    } | changes
    return json.dumps({name: field for name, field in value.items() if field is not None}).encode()


def message(content, finish_reason='stop', **fields):
    return [{'finish_reason': finish_reason, 'message': {'content': content} | fields}]


def read(data):
    return responses.read_completion(data, PROMPT, max_tokens=20)


def test_an_answer_is_read():
    assert read(body()) == Completion('It is 4.', 'stop', COUNTED, 'm-2024')


def test_an_answer_cut_at_the_limit_is_an_answer():
    answer = read(body(choices=message('It is', 'length')))
    assert answer == Completion('It is', 'length', COUNTED, 'm-2024')


@pytest.mark.parametrize(
    ('data', 'kind'),
    [
        (body(choices=[]), 'no_choices'),
        (body(choices=None), 'no_choices'),
        (body(choices=message(None)), 'null_content'),
        (body(choices=message(None, 'stop', refusal='I cannot.')), 'null_content'),
        (body(choices=message('')), 'empty'),
        (body(choices=message(' \n\t', 'length')), 'empty'),
        (body(choices=message('It is', 'content_filter')), 'filtered'),
        (body(choices=message(['It is 4.'])), 'malformed'),
        (body(choices=message(4)), 'malformed'),
        (body(choices=[{'text': 'It is 4.'}]), 'malformed'),
        (body(choices=['It is 4.']), 'malformed'),
        (body(choices={'message': {'content': 'It is 4.'}}), 'malformed'),
    ],
)
def test_an_answer_that_cannot_be_used_is_charged_as_counted(data, kind):
    fault = read(data)
    assert (fault.kind, fault.scope, fault.usage) == (kind, 'attempt', COUNTED)


@pytest.mark.parametrize(
    ('data', 'kind', 'completion_tokens'),
    [
        (b'{"choices": [', 'malformed', 5),  # 13 bytes
        (b'', 'malformed', 0),
        (b'\xff\xfe\x00', 'malformed', 3),  # three U+FFFD at most: 9 bytes
        (b'[' * 100_000, 'malformed', 20),  # too deep to be read; no more than max_tokens
        (b'9' * 5000, 'malformed', 20),  # more digits than Python converts
        (b'"It is 4."', 'malformed', 3),  # 8 bytes of text
        (b' \n<html>login</html>', 'html', 7),  # 20 bytes
    ],
)
def test_what_is_no_json_object_is_charged_an_estimate(data, kind, completion_tokens):
    fault = read(data)
    assert (fault.kind, fault.scope) == (kind, 'attempt')
    assert fault.usage == Usage(10, completion_tokens, estimated=True)


@pytest.mark.parametrize(
    'usage',
    [
        None,
        'many',
        {'prompt_tokens': 7},
        {'prompt_tokens': -7, 'completion_tokens': 5},
        {'prompt_tokens': 7.0, 'completion_tokens': 5},
        {'prompt_tokens': True, 'completion_tokens': 5},
        {'prompt_tokens': 1 << 80, 'completion_tokens': 5},
    ],
)
def test_a_usage_that_counts_nothing_is_replaced_by_an_estimate(usage):
    # 'It is 4.' has 8 bytes, 2.67 times three.
    assert read(body(usage=usage)).usage == Usage(10, 3, estimated=True)


def test_an_error_object_with_status_200_keeps_its_words():
    fault = read(b'{"error": {"message": "provider is down", "code": 502}}')
    assert (fault.kind, fault.message) == ('no_choices', 'provider is down')


def test_a_half_character_at_the_cut_is_replaced():
    data = b'{"choices": [{"message": {"content": "so \\ud83d\\ude00 \\ud83d"}}]}'
    assert read(data).text == 'so \N{GRINNING FACE} \ufffd'


ERROR = b'{"error": {"message": "why", "code": "x"}}'


@pytest.mark.parametrize(
    ('status', 'kind', 'scope'),
    [
        (400, 'rejected', 'record'),
        (413, 'rejected', 'record'),
        (422, 'rejected', 'record'),
        (401, 'unauthorised', 'run'),
        (403, 'unauthorised', 'run'),
        (404, 'not_found', 'run'),
        (402, 'refused', 'run'),
        (405, 'refused', 'run'),
        (408, 'server_error', 'attempt'),
        (409, 'server_error', 'attempt'),
        (425, 'server_error', 'attempt'),
        (429, 'rate_limit', 'attempt'),
        (500, 'server_error', 'attempt'),
        (503, 'server_error', 'attempt'),
        (529, 'server_error', 'attempt'),
    ],
)
def test_a_status_says_what_it_ends(status, kind, scope):
    fault = responses.read_error(status, {}, ERROR, now=0.0)
    assert fault == Fault(kind, f'{status}: why', scope)


def test_an_empty_account_is_no_rate_limit():
    data = b'{"error": {"message": "You exceeded", "code": "insufficient_quota"}}'
    fault = responses.read_error(429, {'retry-after': '1'}, data, now=0.0)
    assert fault == Fault('refused', '429: You exceeded', 'run')


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (b'{"detail": "pinned"}', 'pinned'),
        (b'{"error": "plain"}', 'plain'),
        (b'{"message": "top"}', 'top'),
        (b'<html>\n<b>Bad   Gateway</b>', '<html> <b>Bad Gateway</b>'),
        (b'{"error": {"message": null}}', 'null'),
        (b'{}', 'no reason given'),
        (b'', 'no reason given'),
        (b'\x1b[31mred\x07', '[31mred'),  # nothing reaches the terminal that could steer it
    ],
)
def test_the_words_of_a_server_are_found_and_made_harmless(data, words):
    assert responses.read_error(500, {}, data, now=0.0).message == f'500: {words}'


def test_long_words_are_cut():
    text = responses.read_error(500, {}, b'a' * 100_000, now=0.0).message
    assert text == '500: ' + 'a' * 297 + '...'


@pytest.mark.parametrize(
    ('headers', 'seconds'),
    [
        ({}, None),
        ({'retry-after': '3'}, 3.0),
        ({'retry-after': '0.25'}, 0.25),
        ({'retry-after': '0'}, 0.0),
        ({'retry-after-ms': '1500', 'retry-after': '9'}, 1.5),
        ({'retry-after': 'Sun, 06 Nov 1994 08:49:37 GMT'}, 7.0),
        ({'retry-after': 'Sun, 06 Nov 1994 08:49:00 GMT'}, 0.0),  # in the past
        ({'retry-after': '-3'}, None),
        ({'retry-after': 'nan'}, None),
        ({'retry-after': 'inf'}, None),
        ({'retry-after': 'soon'}, None),
        ({'retry-after': ''}, None),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(headers, seconds):
    now = 784111777.0 - 7  # `Sun, 06 Nov 1994 08:49:37 GMT`, the example of RFC 9110, is 784111777
    assert responses.read_retry_after(headers, now) == seconds


def test_no_prompt_has_more_tokens_than_the_most():
    # A byte-level tokenizer without merges gives a token per byte: the worst there is.
    text = 'Zwölf Äpfel ÷ 3 = 4 \N{GRINNING FACE}'
    assert responses.most_tokens(text) > len(text.encode())
    assert responses.estimate_tokens(text) == math.ceil(len(text.encode()) / 3)
