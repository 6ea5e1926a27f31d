"""Annotation of servers that speak otherwise: what is recorded, counted, charged, and advised."""

import hashlib
import json

import pytest

from qcrd_jax.errors import InputError
from qcrd_jax.teacher import prompts
from qcrd_jax.teacher.annotate import settings_digest
from qcrd_jax.teacher.client import Settings
from tests.support.annotation import lines, questions, records, report, run, settings
from tests.support.dialect_server import DialectServer, Reply, answer, endless, error

pytestmark = pytest.mark.usefixtures('teacher_environment')

AGAIN = 'un the same command again'


def refuse(server_reply, tmp_path, number=20, **teacher):
    """The message that a run ends with, and the number of requests that it took."""
    with DialectServer(server_reply) as server:
        with pytest.raises(InputError) as caught:
            run(settings(server, **teacher), questions(number), tmp_path)
        return str(caught.value), len(server.asked)


def test_reasoning_is_recorded_where_there_is_any(tmp_path):
    def reply(asked):
        if len(server.asked) % 2:
            return Reply(answer('The answer is ( 4 ).', reasoning_content='Two and two is 4.'))
        return Reply(answer('Two and two. The answer is ( 4 ).'))

    with DialectServer(reply) as server:
        run(settings(server, concurrency=1), questions(2), tmp_path)
    found = records(tmp_path)
    assert [record.get('reasoning') for record in found] == ['Two and two is 4.', None] * 3
    assert {record['text'][:3] for record in found[::2]} == {'The'}
    fields = list(found[0])
    assert fields[fields.index('text') + 1] == 'reasoning'


@pytest.mark.parametrize('attempts', [1, 6])
def test_the_other_name_of_the_limit_takes_no_attempt_and_is_counted(tmp_path, attempts):
    def reply(asked):
        if 'max_completion_tokens' in asked:
            return Reply(answer('The answer is ( 4 ).'))
        return error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.", code='unsupported_parameter', param='max_tokens',
        )  # fmt: skip

    with DialectServer(reply) as server:
        run(settings(server, attempts=attempts), questions(10), tmp_path)
        first = sum('max_tokens' in asked for asked in server.asked)
        assert len(server.asked) == 30 + first
        # Those that were in flight before the first refusal was read, at most.
        assert 1 <= first <= 4
        told = report(tmp_path)
        assert told['faults'] == told['run']['faults'] == {'renamed': first}
        assert told['run']['retries'] == first
        assert told['run']['requests'] == len(server.asked)
        assert told['tokens'] == {'prompt': 30 * 7, 'completion': 30 * 5, 'estimated': 0}
        assert (told['run']['given_up'], told['records'], told['missing']) == (0, 30, 0)


def test_a_budget_is_kept_with_the_other_name(tmp_path):
    def reply(asked):
        if 'max_tokens' in asked:
            return error("'max_tokens' is not supported, use 'max_completion_tokens'")
        return Reply(answer('The answer is ( 4 ).'))

    prompt = tmp_path / 'prompt.txt'
    prompt.write_text('Q: {input}\nA:')
    with DialectServer(reply) as server:
        config = settings(server, prompt=str(prompt), max_tokens_total=400)
        with pytest.raises(InputError, match='could exceed the budget'):
            run(config, questions(20), tmp_path)
    tokens = report(tmp_path)['tokens']
    assert 400 - 155 < tokens['prompt'] + tokens['completion'] <= 400


def test_a_limit_that_goes_into_reasoning_is_said_so_and_not_paid_again(tmp_path):
    message, requests = refuse(
        lambda asked: Reply(answer(None, 'length', reasoning='Two and')),
        tmp_path, concurrency=1, attempts=6,
    )  # fmt: skip
    assert requests == 10  # one for each record, until it is clear
    assert 'cut: the limit of tokens was reached in the reasoning' in message
    assert 'raise --config.teacher.max_tokens' in message
    assert AGAIN not in message
    told = report(tmp_path)
    assert told['faults'] == {'cut': 10}
    assert told['run']['given_up_by'] == {'cut': 10}
    assert told['tokens']['completion'] == 10 * 5


@pytest.mark.parametrize(
    ('reply', 'words', 'absent'),
    [
        (error("Unsupported value: 'temperature' does not support 0.7 with this model. Only the "
               'default (1) value is supported.', code='unsupported_value', param='temperature'),
         ["does not support 0.7", '''--config.teacher.extra='{"temperature": null}\''''], AGAIN),
        (error('You exceeded your current quota', 429, type='insufficient_quota'),
         ['refuses requests (429: You exceeded', f'fill the account, then r{AGAIN}'], 'xxx'),
        (error('Your credit balance is too low', 400), ['fill the account'], 'rejected'),
        (error('no', 401), ['does not accept the key in $TEACHER_KEY', 'Set a valid one'], 'xxx'),
        (error('no', 404), ["has no model 'a-model'", 'Mend --config.teacher.model'], AGAIN),
        (Reply(status=307, headers={'Location': 'http://127.0.0.2:1/v1/chat/completions'}),
         ['307: a redirect to http://127.0.0.2:1/v1/chat/completions',
          'set --config.teacher.base_url to it'], AGAIN),
        (error('no', 405), ['refuses requests (405: no)'], 'xxx'),
    ],
)  # fmt: skip
def test_what_ends_a_run_says_what_to_change(tmp_path, reply, words, absent):
    message, requests = refuse(lambda asked: reply, tmp_path)
    assert requests <= 4
    for word in words:
        assert word in message
    assert absent not in message
    assert message.endswith('.')
    assert '..' not in message


@pytest.mark.parametrize(
    ('reply', 'words', 'again'),
    [
        (error('too long'), 'The same requests would be rejected again', False),
        (Reply(b'<html>log in</html>'), 'A web page is no model', False),
        (error('busy', 503), '(503: busy)', True),
        (Reply(answer('')), "a blank answer, finish_reason 'stop'", True),
    ],
)  # fmt: skip
def test_to_run_again_is_advised_where_it_helps(tmp_path, reply, words, again):
    # All of them, which ends the run; and some, which does not.
    message, _ = refuse(lambda asked: reply, tmp_path, attempts=1)
    assert words.strip('()').replace('503: ', '') in message
    assert (AGAIN in message) == again
    with DialectServer(
        lambda asked: reply if len(server.asked) == 5 else Reply(answer('( 4 )'))
    ) as server:
        config = settings(server, attempts=1)
        with pytest.raises(InputError, match=r'59 of 60 answers.* 1 were given up') as caught:
            run(config, questions(20), tmp_path / 'some')
    assert (AGAIN in str(caught.value)) == again


def test_an_answer_that_was_cut_is_counted_by_any_spelling(tmp_path):
    reasons = ['MAX_TOKENS', 'model_length', {'type': 'length'}, 'stop', 'max_tokens', None]
    with DialectServer(
        lambda asked: Reply(answer('It is', reasons[len(server.asked) - 1]))
    ) as server:
        run(settings(server, concurrency=1), questions(2), tmp_path)
    assert [record['finish_reason'] for record in records(tmp_path)] == [
        'length', 'length', 'length', 'stop', 'length', '',
    ]  # fmt: skip
    assert report(tmp_path)['length_cut'] == 4


def test_a_flood_is_a_counted_fault_among_others(tmp_path):
    def reply(asked):
        flood = len(server.asked) in (3, 5)
        return Reply(endless()) if flood else Reply(answer('The answer is ( 4 ).'))

    with DialectServer(reply) as server:
        run(settings(server), questions(5), tmp_path)
        told = report(tmp_path)
        assert told['run']['requests'] == len(server.asked) == 17
    assert told['faults'] == {'too_large': 2}
    # It may have been paid for: 60 tokens is max_tokens.
    assert told['tokens']['completion'] == 15 * 5 + 2 * 60


def test_half_characters_from_a_server_break_no_file(tmp_path):
    half = r'\ud83d'
    whole = answer(f'It {half} is', f'st{half}op', reasoning=f'so {half}').replace(b'\\\\u', b'\\u')
    whole = whole.replace(b'served', rb'ser\udc00ved')
    bad = error(f'no {half}', 500).body.replace(b'\\\\u', b'\\u')

    def reply(asked):
        return Reply(bad, 500) if len(server.asked) == 2 else Reply(whole)

    with DialectServer(reply) as server:
        run(settings(server), questions(1), tmp_path)
    found = records(tmp_path)  # which is read as UTF-8
    assert found[0]['text'] == 'It \ufffd is'
    assert found[0]['reasoning'] == 'so \ufffd'
    assert (found[0]['finish_reason'], found[0]['model']) == ('st\ufffdop', 'ser\ufffdved')
    assert lines(tmp_path / 'annotations.faults.jsonl')[0]['message'] == '500: no \ufffd'
    assert report(tmp_path)['faults'] == {'server_error': 1}


# --- teacher.extra


def test_further_fields_are_sent_and_are_settings_of_their_own(tmp_path):
    with DialectServer(lambda asked: Reply(answer('The answer is ( 4 ).'))) as server:
        config = settings(server, extra='')
        run(config, questions(2), tmp_path)
        config.teacher.extra = '{"chat_template_kwargs": {"enable_thinking": false}, "top_p": 0.9}'
        run(config, questions(2), tmp_path)
        assert len(server.asked) == 12
        assert server.asked[-1]['chat_template_kwargs'] == {'enable_thinking': False}
        assert server.asked[-1]['top_p'] == 0.9
        assert 'top_p' not in server.asked[0]
        # However they are written.
        config.teacher.extra = '{"top_p": 0.90, "chat_template_kwargs":{"enable_thinking":false}}'
        run(config, questions(2), tmp_path)
        assert len(server.asked) == 12
    assert report(tmp_path)['settings']['extra']['top_p'] == 0.9
    assert report(tmp_path)['other'] == 6


def test_without_further_fields_the_digest_is_that_of_every_earlier_version():
    config = settings('http://127.0.0.1:1/v1')
    prompt = prompts.load('svamp', 'equation')
    text = json.dumps(['a-model', 0.7, 60, prompt.text])
    before = hashlib.sha256(text.encode()).hexdigest()[:16]
    for extra in ('', '{}'):
        config.teacher.extra = extra
        assert settings_digest(Settings.from_config(config.teacher), prompt) == before


def test_a_mistake_in_further_fields_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r'^--config\.teacher\.extra: expected a JSON object'):
        run(settings('http://127.0.0.1:1/v1', extra="{'top_p': 1}"), questions(1), tmp_path)
