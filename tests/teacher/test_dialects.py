"""Whatever way a server has of saying it, the same answer is read; half of one never is."""

import json

import pytest

from qcrd_jax.teacher import dialects, responses
from qcrd_jax.teacher.responses import Completion, Usage
from tests.support.dialect_server import USAGE, answer

COUNTED = Usage(7, 5)
ANSWER = answer('It is 4.')
READ = Completion('It is 4.', 'stop', COUNTED, 'served')


def read(body):
    return responses.read_completion(body, 'x' * 30, max_tokens=20)


def chunk(delta, finish_reason=None, **fields):
    choice = {'index': 0, 'delta': delta, 'finish_reason': finish_reason}
    return {'model': 'served', 'choices': [choice]} | fields


CHUNKS = [
    {'choices': [], 'prompt_filter_results': [{'prompt_index': 0}]},  # Azure's first
    chunk({'role': 'assistant', 'content': ''}),
    chunk({'reasoning_content': 'two and '}),
    chunk({'reasoning_content': 'two\u2028'}),
    chunk({'content': 'It '}),
    chunk({'content': 'is 4.'}, 'stop'),
    {'choices': [], 'usage': USAGE},
]
STREAMED = Completion('It is 4.', 'stop', COUNTED, 'served', 'two and two\u2028')


def events(chunks, end='data: [DONE]\n\n', line='\n', data='data: '):
    texts = [json.dumps(chunk, ensure_ascii=False) for chunk in chunks]
    return ''.join(f'{data}{text}{line}{line}' for text in texts).encode() + end.encode()


@pytest.mark.parametrize(
    'body',
    [
        ANSWER,
        b'\xef\xbb\xbf' + ANSWER,
        ANSWER + b'\r\n\n \0',
        ANSWER + b'\n[DONE]',
        ANSWER + b'\n\ndata: [DONE]\n\n',
        ANSWER + b'\n<!-- served by a proxy -->',
        b'\n\n   \n' + ANSWER,
        b': PROCESSING\n\n: PROCESSING\n\n' + json.dumps(json.loads(ANSWER), indent=1).encode(),
        b'data: ' + ANSWER + b'\n\ndata: [DONE]\n\n',
        json.dumps(json.loads(ANSWER)).encode('utf-16'),
        answer([{'type': 'text', 'text': 'It '}, {'type': 'text', 'text': 'is 4.'}]),
        answer([{'type': 'output_text', 'text': 'It is 4.', 'annotations': []}]),
        answer({'type': 'text', 'text': 'It is 4.'}),
        answer([{'text': 'It is 4.'}]),
    ],
)
def test_an_answer_is_read_in_any_wrapping(body):
    assert read(body) == READ


@pytest.mark.parametrize(
    'body',
    [
        events(CHUNKS),
        events(CHUNKS, end=''),  # with a reason to finish, the mark is not needed
        events(CHUNKS, line='\r\n'),
        events(CHUNKS, data='data:'),
        b': PROCESSING\n\n' + events(CHUNKS),
        b'event: message\nid: 1\n' + events(CHUNKS),
        b'\xef\xbb\xbf' + events(CHUNKS),
        b'\n'.join(json.dumps(chunk).encode() for chunk in CHUNKS),  # JSON lines
    ],
)
def test_a_stream_that_nobody_asked_for_is_joined(body):
    assert read(body) == STREAMED


def test_an_event_may_have_several_lines():
    text = json.dumps(CHUNKS[-2], indent=1)
    body = '\n'.join(f'data: {line}' for line in text.split('\n')) + '\n\n'
    assert read(body.encode()).text == 'is 4.'


def test_a_character_that_is_cut_in_two_by_chunks_is_whole_again():
    body = (
        b'data: {"choices": [{"delta": {"content": "so \\ud83d"}}]}\n\n'
        b'data: {"choices": [{"delta": {"content": "\\ude00 \\ud83d"}, "finish_reason": "x"}]}\n\n'
    )
    assert read(body).text == 'so \N{GRINNING FACE} \ufffd'


@pytest.mark.parametrize(
    ('body', 'kind'),
    [
        (events(CHUNKS[:-2], end=''), 'interrupted'),  # neither a reason nor the mark
        (events(CHUNKS[:-2])[:-20], 'malformed'),  # in the midst of a chunk
        (events([*CHUNKS[:-2], json.loads(ANSWER)]), 'malformed'),  # a whole one behind its parts
        (events([json.loads(ANSWER)] * 2), 'malformed'),  # two: which?
        (ANSWER + ANSWER, 'malformed'),
        (events([1, 2]), 'malformed'),
        (b'data: [DONE]\n\n', 'malformed'),
        (events(CHUNKS[:1]), 'no_choices'),
        (events([*CHUNKS[:3], {'error': {'message': 'overloaded'}}]), 'no_choices'),
        (events([chunk({'content': 'It is'}, 'error')]), 'interrupted'),
        (answer('It is', 'insufficient_system_resource'), 'interrupted'),
        (answer('It is', 'abort'), 'interrupted'),
        (events([chunk({'content': ''}, 'stop')]), 'empty'),
        (events([chunk({'role': 'assistant'}, 'stop')]), 'null_content'),
        (answer([{'type': 'image_url', 'image_url': {'url': 'x'}}]), 'empty'),
        (answer([]), 'empty'),
        (answer({'type': {'a': []}}), 'empty'),
    ],
)
def test_half_an_answer_is_none(body, kind):
    fault = read(body)
    assert (fault.kind, fault.scope) == (kind, 'attempt')
    assert fault.usage is not None


def test_a_stream_of_a_server_that_gives_no_reasons_ends_with_the_mark():
    assert read(events([chunk({'content': 'It is 4.'})])).finish_reason == ''
    # The usage of one that counts elsewhere, and the words of one that fails.
    body = events([chunk({'content': 'x'}, 'stop', x_groq={'usage': USAGE})])
    assert read(body).usage == COUNTED
    fault = read(events([*CHUNKS[:3], {'error': {'message': 'overloaded'}, 'choices': []}]))
    assert fault.message == 'overloaded'


@pytest.mark.parametrize(
    'fields',
    [
        {'reasoning_content': 'two and two'},
        {'reasoning': 'two and two'},
        {'reasoning': 'two and two', 'reasoning_content': None},
        {'reasoning': 'two and two', 'reasoning_content': 'two and two'},
        {
            'reasoning': 'two and two',
            'reasoning_details': [{'type': 'reasoning.text', 'text': 'two and two'}],
        },
        {'reasoning_details': [{'type': 'reasoning.summary', 'summary': 'two and two'}]},
        {
            'reasoning_details': [
                {'type': 'reasoning.encrypted', 'data': 'gAAA'},
                {'type': 'reasoning.text', 'text': 'two and two', 'signature': None},
            ]
        },
        {'reasoning': {'content': 'two and two'}},
        {'thinking': 'two and two'},
        {'thinking_blocks': [{'type': 'thinking', 'thinking': 'two and two', 'signature': 's'}]},
    ],
)
def test_reasoning_is_kept_by_whatever_name(fields):
    assert read(answer('It is 4.', **fields)) == Completion(*READ_FIELDS, 'two and two')


READ_FIELDS = ('It is 4.', 'stop', COUNTED, 'served')


@pytest.mark.parametrize(
    'part',
    [
        {'type': 'thinking', 'thinking': 'two and two', 'signature': 's'},
        {'type': 'thinking', 'thinking': [{'type': 'text', 'text': 'two and two'}]},
        {'type': 'reasoning', 'text': 'two and two'},
        {'type': 'reasoning', 'summary': [{'type': 'summary_text', 'text': 'two and two'}]},
        {'type': 'reasoning', 'reasoning': 'two and two'},
    ],
)
def test_reasoning_among_the_parts_of_the_content_is_no_content(part):
    parts = [part, {'type': 'redacted_thinking', 'data': 'x'}, {'type': 'text', 'text': 'It is 4.'}]
    assert read(answer(parts)) == Completion(*READ_FIELDS, 'two and two')


def test_blank_reasoning_is_none_and_half_characters_in_it_are_replaced():
    assert read(answer('It is 4.', reasoning_content=' \n')) == READ
    assert read(answer('It is 4.', reasoning=False)) == READ
    body = answer('It is 4.', reasoning='so').replace(b'"so"', b'"so \\udc00"')
    assert read(body).reasoning == 'so \ufffd'


@pytest.mark.parametrize(
    'reason',
    [
        'length', 'LENGTH', 'max_tokens', 'MAX_TOKENS', 'max_output_tokens', 'model_length',
        'max_length', 'token_limit', 'tokenLimit', 'context_length_exceeded', 'max_new_tokens',
        'model_context_window_exceeded', 'FinishReason.MAX_TOKENS', 'incomplete', 'ERROR_LIMIT',
        {'type': 'length', 'length': 20}, {'type': 'max_tokens'}, {'reason': 'max_output_tokens'},
    ],
)  # fmt: skip
def test_an_answer_that_was_cut_is_known_by_any_spelling(reason):
    assert read(answer('It is', reason)) == Completion('It is', 'length', COUNTED, 'served')


@pytest.mark.parametrize(
    'reason',
    ['content_filter', 'SAFETY', 'safety', 'RECITATION', 'PROHIBITED_CONTENT', 'refusal',
     'guardrail_intervened', 'sensitive', 'ERROR_TOXIC', 'BLOCKLIST', {'type': 'content_filter'}],
)  # fmt: skip
def test_an_answer_that_was_filtered_is_known_by_any_spelling(reason):
    for content in ('It is', None, ''):
        assert read(answer(content, reason)).kind == 'filtered'


@pytest.mark.parametrize(
    ('reason', 'recorded'),
    [('stop', 'stop'), ('STOP', 'STOP'), ('eos_token', 'eos_token'), ('end_turn', 'end_turn'),
     ('COMPLETE', 'COMPLETE'), ('stop_sequence', 'stop_sequence'), (None, ''), (2, ''),
     ({'type': 'stop', 'matched': 7}, 'stop'), ({}, ''), (['length'], ''),
     ('\x1b[31mst\ud83dop', '[31mst\ufffdop')],
)  # fmt: skip
def test_other_reasons_are_recorded_as_they_are(reason, recorded):
    assert read(answer('It is 4.', reason)).finish_reason == recorded


@pytest.mark.parametrize('content', [None, '', ' \n'])
@pytest.mark.parametrize('reasoning', ['reasoning_content', 'reasoning'])
def test_a_limit_that_was_spent_on_reasoning_is_not_tried_again(content, reasoning):
    fault = read(answer(content, 'length', **{reasoning: 'two and'}))
    assert (fault.kind, fault.scope, fault.usage) == ('cut', 'record', COUNTED)
    assert fault.message == 'the limit of tokens was reached in the reasoning'


def test_reasoning_that_a_server_hides_and_counts_was_there():
    value = json.loads(answer('', 'length'))
    assert read(json.dumps(value).encode()).kind == 'empty'
    value['usage']['completion_tokens_details'] = {'reasoning_tokens': 5}
    assert read(json.dumps(value).encode()).kind == 'cut'


def test_reasoning_without_an_answer_may_have_one_next_time():
    fault = read(answer(None, reasoning_content='It is 4.'))
    assert (fault.kind, fault.scope) == ('null_content', 'attempt')
    assert fault.message == "reasoning without an answer behind it, finish_reason 'stop'"


def test_reasoning_is_charged_where_nobody_counts():
    value = json.loads(answer('It is 4.', reasoning_content='x' * 16))
    del value['usage']  # 24 bytes, a third of which are tokens
    assert read(json.dumps(value).encode()).usage == Usage(10, 8, estimated=True)


@pytest.mark.parametrize('depth', [3, 50, 200, 300, 450, 600, 900, 980, 2000])
def test_no_depth_of_nesting_raises(depth):
    for value in ('[' * depth + ']' * depth, '{"text":' * depth + '1' + '}' * depth):
        for body in (
            f'{{"choices": [{{"message": {{"content": {value}}}}}]}}',
            f'{{"choices": [{{"message": {{"content": [{{"type": {value}}}]}}}}]}}',
            f'{{"choices": [{{"message": {{"content": "x", "reasoning": {value}}}}}]}}',
            f'{{"choices": [{{"finish_reason": {value}, "message": {{"content": "x"}}}}]}}',
            f'{{"error": {value}}}',
            value,
        ):
            read(body.encode())
            responses.read_error(500, {}, body.encode(), now=0.0)


def test_values_are_read_one_by_one():
    assert list(dialects.read_values(b'{"a": 1}\n[2] "x"')) == [{'a': 1}, [2], 'x']
