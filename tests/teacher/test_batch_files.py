"""Lines of batch files: what is asked so that every runner takes it, and every way to answer."""

import itertools
import json
import typing

import pytest
from openai.types import BatchCreateParams

from qcrd_jax.errors import InputError
from qcrd_jax.teacher import batch_files
from qcrd_jax.teacher.batch_files import CustomId, read_results
from qcrd_jax.teacher.responses import Completion, Fault, Usage
from tests.support import batch_runner

KEY = ('split', 'id', 'input', 'sample', 'settings')
HOSTILE = ['../../etc/passwd', 'a"b\n\u2028{}', 'ü' * 500, '\ud83d', '', '%s{0}', '*']


def record(**changes):
    return {
        'split': 'train', 'id': 'q', 'input': 'How many?', 'sample': 0, 'settings': '0' * 16,
        'label': '',
    } | changes  # fmt: skip


def body(prompt='How many?', **more):
    return {'model': 'm', 'messages': [{'role': 'user', 'content': prompt}], **more}


def test_a_custom_id_is_opaque_bounded_and_told_apart_by_every_field_of_the_key():
    ids = [str(CustomId.of(record(id=text), KEY, n)) for text in HOSTILE for n in (1, 128)]
    ids += [str(CustomId.of(record(input=text), KEY)) for text in HOSTILE]
    ids += [str(CustomId.of(record(sample=n), KEY)) for n in range(1, 5)]
    ids += [str(CustomId.of(record(split='test'), KEY)), str(CustomId.of(record(), KEY))]
    ids.append(str(CustomId.of(record(settings='f' * 16), KEY)))
    assert len(set(ids)) == len(ids)
    for text in ids:
        assert len(text) <= 64
        assert set(text) <= set('0123456789abcdef-n')
        assert str(CustomId.read(text)) == text
    assert CustomId.of(record(label='other'), KEY) == CustomId.of(record(), KEY)


@pytest.mark.parametrize(
    'text',
    [None, 3, '', 'request-1', '0' * 49, f'{"0" * 16}-{"0" * 32}-n0', f'{"0" * 16}-{"g" * 32}'],
)  # fmt: skip
def test_what_is_none_of_ours_is_no_custom_id(text):
    assert CustomId.read(text) is None


def test_every_runner_takes_the_lines(tmp_path):
    prompts = [*(text for text in HOSTILE if text != '\ud83d'), 'a\x85b\x0cc\x1dd\r\n']
    lines = [
        batch_files.request_line(
            CustomId.of(record(id=str(n)), KEY), body(prompt, temperature=0.7, max_tokens=5)
        )
        for n, prompt in enumerate(prompts)
    ]
    (path,) = batch_files.write_requests(tmp_path, iter(lines))
    assert path == tmp_path / 'requests.jsonl'
    requests = batch_runner.read_requests(path)
    assert [r.body['messages'][0]['content'] for r in requests] == prompts
    # Even one that splits where Python's `splitlines` does, as some scripts do.
    assert len(path.read_text().splitlines()) == len(prompts)


def test_files_are_parted_by_requests_and_bytes_and_replace_those_before(tmp_path):
    def names():
        return sorted(path.name for path in tmp_path.iterdir())

    (tmp_path / 'requests-mine.jsonl').write_text('mine')
    (tmp_path / '.requests-0009.jsonl.tmp').write_text('of a killed process')
    lines = [b'%d\n' % n for n in range(7)]
    paths = batch_files.write_requests(tmp_path, iter(lines), most_requests=3)
    assert [path.read_bytes() for path in paths] == [b'0\n1\n2\n', b'3\n4\n5\n', b'6\n']
    parts = ['requests-0001.jsonl', 'requests-0002.jsonl', 'requests-0003.jsonl']
    assert [path.name for path in paths] == parts
    assert names() == sorted([*parts, 'requests-mine.jsonl'])
    # Two lines are 4 bytes; a line that alone is longer has a file of its own.
    paths = batch_files.write_requests(tmp_path, iter([*lines[:3], b'long line\n']), most_bytes=5)
    assert [path.read_bytes() for path in paths] == [b'0\n1\n', b'2\n', b'long line\n']
    (path,) = batch_files.write_requests(tmp_path, iter(lines), most_requests=7, most_bytes=14)
    assert names() == ['requests-mine.jsonl', 'requests.jsonl']
    assert path.read_bytes() == b''.join(lines)
    assert batch_files.write_requests(tmp_path, iter([])) == []
    assert names() == ['requests-mine.jsonl']


def test_an_error_in_the_midst_of_writing_leaves_the_old_requests(tmp_path):
    def failing():
        yield b'new\n'
        raise InputError('a question that cannot be asked')

    batch_files.write_requests(tmp_path, iter([b'old\n']))
    with pytest.raises(InputError):
        batch_files.write_requests(tmp_path, failing())
    assert (tmp_path / 'requests.jsonl').read_bytes() == b'old\n'


def test_lines_are_found_whatever_stands_between_them(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_files, '_MOST_OF_A_LINE', 8)
    path = tmp_path / 'responses.jsonl'
    path.write_bytes(b'\xef\xbb\xbf{"a":1}\r\n\n  \n{"b": "much too long"}\n{"c":2}\n{"d":3')
    found = list(batch_files.response_lines(path))
    assert [(number, line) for number, _, line in found] == [
        (1, b'{"a":'), (4, b'{"b": "m'), (5, b'{"c":2}\n'), (6, b'{"d":3'),
    ]  # fmt: skip
    data = path.read_bytes()
    assert all(data[offset:].startswith(line) for _, offset, line in found)


def test_the_endpoint_is_one_that_openai_makes_batches_for():
    endpoints = typing.get_type_hints(BatchCreateParams)['endpoint']
    assert batch_files.URL in typing.get_args(endpoints)


def test_files_of_responses_are_found_by_name(tmp_path):
    for name in ('responses.jsonl', 'responses-0002.jsonl', 'responses_errors.jsonl',
                 'my-responses.jsonl', 'responses.jsonl.part', 'responses.json'):  # fmt: skip
        (tmp_path / name).touch()
    (tmp_path / 'responses-folder.jsonl').mkdir()
    names = [path.name for path in batch_files.response_files(tmp_path)]
    assert names == ['responses-0002.jsonl', 'responses.jsonl', 'responses_errors.jsonl']


def ok(text='4', **more):
    message = {'role': 'assistant', 'content': text}
    choice = {'index': 0, 'finish_reason': 'stop', 'message': message}
    usage = {'prompt_tokens': 9, 'completion_tokens': 2}
    return {'model': 's', 'choices': [choice | more], 'usage': usage}


@pytest.mark.parametrize('answer', [ok(), json.dumps(ok())], ids=['object', 'text'])
def test_an_answer_is_read_as_from_a_server(answer):
    line = {'id': 'batch_req_1', 'response': {'status_code': 200, 'body': answer}, 'error': None}
    assert read_results(line, 'p', 60) == [Completion('4', 'stop', Usage(9, 2), 's')]


def test_reasoning_and_a_cut_are_read_as_from_a_server():
    message = {'role': 'assistant', 'content': '4', 'reasoning_content': '2 + 2'}
    line = {
        'response': {'status_code': 200, 'body': ok(message=message, finish_reason='MAX_TOKENS')}
    }
    (result,) = read_results(line, 'p', 60)
    assert isinstance(result, Completion)
    assert (result.reasoning, result.finish_reason) == ('2 + 2', 'length')


EXPIRED = 'This request could not be executed before the completion window expired.'
VLLM = {'error': {'message': 'The model `x` does not exist.', 'type': 'NotFoundError', 'code': 404}}


@pytest.mark.parametrize(
    ('line', 'kind', 'message'),
    [
        # OpenAI: a status with its body, or what became of the request.
        ({'response': {'status_code': 400, 'body': {'error': {'message': 'too long'}}}},
         'rejected', '400: too long'),
        ({'response': None, 'error': {'code': 'batch_expired', 'message': EXPIRED}},
         'timeout', f'batch_expired: {EXPIRED}'),
        ({'response': None, 'error': {'code': 'batch_cancelled', 'message': 'no'}},
         'interrupted', 'batch_cancelled: no'),
        ({'response': None, 'error': {'code': ['x'], 'message': '\x1b[31mred'}},
         'refused', '[31mred'),
        ({'error': {'message': 'words'}}, 'refused', 'words'),
        # vLLM: a status without a body, and the error beside it; or only words.
        ({'response': {'status_code': 404, 'request_id': 'r', 'body': None}, 'error': VLLM},
         'not_found', '404: The model `x` does not exist.'),
        ({'response': {'status_code': 400, 'request_id': 'r', 'body': None}, 'error': 'too long'},
         'rejected', '400: too long'),
        ({'response': {'request_id': 'r', 'body': None}, 'error': VLLM},
         'refused', 'The model `x` does not exist.'),
        # None of either.
        ({'response': None, 'error': None}, 'refused', 'no reason given'),
        ({'response': 'x', 'error': None}, 'refused', 'no reason given'),
        ({'response': {'status_code': '200', 'body': ok()}}, 'malformed',
         'a status_code that is no whole number'),
        ({'response': {'status_code': 429, 'body': 'slow down'}}, 'rate_limit', '429: slow down'),
    ],
)  # fmt: skip
def test_every_error_is_a_fault_that_is_not_charged(line, kind, message):
    (fault,) = read_results(line, 'p', 60)
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.message, fault.usage) == (kind, message, None)


@pytest.mark.parametrize(
    ('answer', 'kind'),
    [(ok(' '), 'empty'), (ok(finish_reason='content_filter'), 'filtered'), (None, 'malformed'),
     ([], 'malformed'), ({'choices': []}, 'no_choices'), ('<html>', 'html')],
)  # fmt: skip
def test_an_answer_that_is_none_is_a_fault_that_is_charged(answer, kind):
    (fault,) = read_results({'response': {'status_code': 200, 'body': answer}}, 'p', 60)
    assert isinstance(fault, Fault)
    assert fault.kind == kind
    assert fault.usage is not None


def several(texts, usage=None):
    choices = [
        {'index': n, 'finish_reason': 'stop', 'message': {'content': text}}
        for n, text in enumerate(texts)
    ]
    usage = {'usage': usage} if usage else {}
    return {'response': {'status_code': 200, 'body': {'model': 's', 'choices': choices, **usage}}}


def test_several_choices_share_what_was_counted():
    texts = ['a' * 30, 'b' * 60, 'c' * 31]
    line = several(texts, {'prompt_tokens': 50, 'completion_tokens': 41})
    for order in itertools.permutations(line['response']['body']['choices']):
        line['response']['body']['choices'] = list(order)
        results = read_results(line, 'prompt', 60, n=3)
        assert [r.text for r in results if isinstance(r, Completion)] == texts
        usages = [result.usage for result in results if result.usage]
        assert [usage.prompt_tokens for usage in usages] == [50, 0, 0]
        # In proportion to 10, 20 and 11 estimated tokens, which add up to 41 themselves.
        assert [usage.completion_tokens for usage in usages] == [10, 20, 11]
        assert not any(usage.estimated for usage in usages)


def test_several_choices_without_a_count_are_charged_the_prompt_once():
    results = read_results(several(['a' * 30, 'b' * 60]), 'p' * 90, 60, n=2)
    assert [result.usage for result in results] == [Usage(30, 10, True), Usage(0, 20, True)]


def test_a_choice_that_is_missing_or_blank_is_a_fault_of_its_own():
    line = several(['a', ' ', 'c'], {'prompt_tokens': 50, 'completion_tokens': 2})
    del line['response']['body']['choices'][2]
    results = read_results(line, 'p', 60, n=3)
    assert [getattr(r, 'text', None) or getattr(r, 'kind', None) for r in results] == [
        'a', 'empty', 'no_choices',
    ]  # fmt: skip
    assert sum(r.usage.completion_tokens for r in results if r.usage) == 2
    assert sum(r.usage.prompt_tokens for r in results if r.usage) == 50


def test_one_error_for_several_choices_is_one_fault():
    line = {'response': {'status_code': 400, 'body': None}, 'error': 'n must be 1'}
    assert [getattr(r, 'kind', None) for r in read_results(line, 'p', 60, n=5)] == ['rejected']


def test_attempts_are_told_apart_however_they_are_formatted():
    line = {'id': 'batch_req_1', 'custom_id': 'c', 'response': None, 'error': {'code': 'x'}}
    again = json.loads(json.dumps(line, indent=2), object_pairs_hook=lambda p: dict(reversed(p)))
    assert batch_files.line_digest(again) == batch_files.line_digest(line)
    assert batch_files.line_digest(line, 1) != batch_files.line_digest(line)
    assert batch_files.line_digest(line | {'id': 'batch_req_2'}) != batch_files.line_digest(line)


@pytest.mark.parametrize('line', [b'{"custom_id": "a", "body": {}}', b'[]', b'3', b'null'])
def test_a_line_that_answers_nothing_is_no_response(line):
    assert batch_files.read_response(line) is None


@pytest.mark.parametrize('line', [b'{"custom_id": "a", "resp', b'\xff\xfe\x00', b'[' * 100_000,
                                  b'{"error": ' * 900 + b'1' + b'}' * 900])  # fmt: skip
def test_a_line_that_is_no_json_is_none(line):
    with pytest.raises(ValueError):
        batch_files.read_response(line)
