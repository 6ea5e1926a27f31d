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
        (b'404 page not found', '404 page not found'),
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


def error(message, **fields):
    return json.dumps({'error': {'message': message} | fields}).encode()


GOOGLE = 'You exceeded your current quota, please check your plan and billing details. '


@pytest.mark.parametrize(
    ('status', 'data'),
    [
        (429, error('You exceeded', type='insufficient_quota')),
        (429, error('You exceeded', code='insufficient_quota', type='insufficient_quota')),
        (429, error(GOOGLE)),  # without any word of when
        (403, error('no', code='insufficient_user_quota')),
        (400, error('no', code='billing_hard_limit_reached')),
        (429, error('no', code='billing_not_active')),
        (402, b''),
        (402, error('This request requires more credits')),
        (400, error('Your credit balance is too low to access', type='invalid_request_error')),
        (403, error('no', type='exceeded_current_quota_error')),
        (400, b'{"code": "Arrearage", "message": "Access denied"}'),
        (429, b'{"detail": {"type": "insufficient_quota", "message": "no"}}'),
        (500, b'[{"error": {"message": "no", "type": "insufficient_quota"}}]'),
        (400, error('ExceededBudget', type='budget_exceeded')),
        (429, error('no', type='quota_exceeded')),
    ],
)
def test_an_account_that_is_empty_ends_the_run_by_whatever_type(status, data):
    fault = responses.read_error(status, {}, data, now=0.0)
    assert (fault.kind, fault.scope) == ('refused', 'run')


@pytest.mark.parametrize(
    ('headers', 'data'),
    [
        ({}, error('Rate limit reached', type='tokens', code='rate_limit_exceeded')),
        ({}, error('Please slow down', type='requests')),
        ({}, error(f'{GOOGLE}Please retry in 34.07s.', code=429, status='RESOURCE_EXHAUSTED')),
        ({'retry-after': '34'}, b'[%b]' % error(GOOGLE, code=429, status='RESOURCE_EXHAUSTED')),
        ({}, error('Quota exceeded for metric: requests per minute', status='RESOURCE_EXHAUSTED')),
        ({'retry-after': '2'}, error('no', type='quota_exceeded')),
        ({}, error('Allocated quota exceeded per minute', code='insufficient_quota')),
    ],
)
def test_a_limit_that_passes_by_itself_is_waited_for(headers, data):
    fault = responses.read_error(429, headers, data, now=0.0)
    assert (fault.kind, fault.scope) == ('rate_limit', 'attempt')


def test_an_empty_account_is_known_in_a_good_status_too():
    data = b'{"error": {"message": "Insufficient credits", "code": 402, "type": "credit"}}'
    assert (read(data).kind, read(data).scope) == ('refused', 'run')


RENAMED = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)


@pytest.mark.parametrize(
    'data',
    [
        error(RENAMED, type='invalid_request_error', param='max_tokens', code='x'),
        error(RENAMED),
        error('no', param='max_tokens', code='unsupported_parameter'),
        error('this model is not supported MaxTokens, please use MaxCompletionTokens'),
        b'{"detail": "max_tokens is deprecated in favor of max_completion_tokens"}',
    ],
)
def test_a_server_may_ask_for_another_name_of_the_limit(data):
    fault = responses.read_error(400, {}, data, now=0.0)
    assert (fault.kind, fault.scope) == ('renamed', 'request')


TOO_LARGE = (
    "'max_tokens' or 'max_completion_tokens' is too large: 512. This model's maximum context "
    'length is 2048 tokens and your request has 1800 input tokens (512 > 2048 - 1800).'
)


@pytest.mark.parametrize(
    ('status', 'data', 'kind', 'scope'),
    [
        (400, error(TOO_LARGE, param='max_tokens', code=400), 'rejected', 'record'),
        (400, error('too long', code='context_length_exceeded'), 'rejected', 'record'),
        (400, error("Unsupported value: 'temperature' does not support 0.7 with this model. Only "
                    'the default (1) value is supported.', param='temperature',
                    code='unsupported_value'), 'rejected', 'run'),
        (400, error('Unrecognized request argument supplied: chat_template_kwargs'),
         'rejected', 'run'),
        (422, b'{"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"]}]}',
         'rejected', 'run'),
        (400, error('Incorrect API key provided: x'), 'unauthorised', 'run'),
        (400, b'[%b]' % error('API key not valid. Please pass a valid API key.'),
         'unauthorised', 'run'),
        (400, error('no such model', code='model_not_found'), 'not_found', 'run'),
        (403, error('Your input was flagged'), 'rejected', 'record'),
        (403, error('no'), 'unauthorised', 'run'),
    ],
)  # fmt: skip
def test_what_an_error_is_about_says_what_it_ends(status, data, kind, scope):
    fault = responses.read_error(status, {}, data, now=0.0)
    assert (fault.kind, fault.scope) == (kind, scope)


def test_the_words_of_an_error_are_found_in_lists_and_streams():
    for data in (b'[{"error": {"message": "why"}}]', b'data: {"error": {"message": "why"}}\n\n'):
        assert responses.read_error(500, {}, data, now=0.0).message == '500: why'


def test_a_request_that_an_error_repeats_is_no_word_of_it():
    echo = {'messages': [{'content': 'He is out of credits: unsupported value.'}]}
    value = {'type': 'missing', 'loc': ['body', 'x'], 'msg': 'Field required', 'input': echo}
    fault = responses.read_error(422, {}, json.dumps({'detail': [value]}).encode(), now=0.0)
    assert fault == Fault('rejected', '422: [[["body", "x"], "Field required"]]', 'record')


def test_half_characters_in_the_words_of_an_error_are_dropped():
    data = b'{"error": {"message": "wh\\ud83dy", "code": "\\ud83d", "type": "\\udc00"}}'
    fault = responses.read_error(400, {}, data, now=0.0)
    assert fault.message.encode() == '400: wh\ufffdy'.encode()


def test_tokens_are_counted_by_either_name():
    assert read(body(usage={'input_tokens': 3, 'output_tokens': 4})).usage == Usage(3, 4)
