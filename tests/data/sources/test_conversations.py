"""Chat messages are questions with answers, or refused by field."""

import json

import pytest

from qcrd_jax.data.sources import conversations
from qcrd_jax.data.sources.raw_samples import QuestionFile
from qcrd_jax.errors import InputError


def turn(role, content, **fields):
    return {'role': role, 'content': content, **fields}


def read(path, records, answer_type='equation'):
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    splits = QuestionFile(path, answer_type).splits()
    return {split: list(examples) for split, examples in splits.items()}


def test_the_last_question_is_asked_and_what_is_said_to_it_are_the_samples(tmp_path):
    messages = [
        turn('system', 'Be brief.'),
        turn('user', 'What is 1 + 1?'),
        turn('assistant', '2'),
        turn('user', ' What is 3 * 4? '),
        turn('assistant', 'It is 3 * 4 = 12. The answer is 12.'),
        turn('assistant', '13', reasoning_content='It is prime.'),
    ]
    records = [{'messages': messages, 'label': '12', 'split': 'test', 'teacher': 't'}]
    (example,) = read(tmp_path / 'a.jsonl', records)['test']
    assert example.input == 'What is 3 * 4?'
    told = [(s.source, s.answer, s.rationale) for s in example.samples]
    assert told == [('t', '12', 'It is 3 * 4 = 12.'), ('t', '13', 'It is prime.')]


def test_answers_to_one_question_are_gathered_with_and_without_an_id(tmp_path):
    def record(text, **fields):
        messages = [turn('user', 'What is 3 * 4?'), turn('assistant', text)]
        return {'messages': messages, 'label': '12', **fields}

    for fields in ({}, {'id': 'x'}):
        records = [record(text, **fields) for text in ('12', '13', '12')]
        (example,) = read(tmp_path / 'a.jsonl', records)['train']
        assert [s.answer for s in example.samples] == ['12', '13', '12']
        assert [s.source for s in example.samples] == ['assistant'] * 3
    assert example.id == 'x'
    with pytest.raises(InputError, match='expected the question of that id as it was'):
        read(tmp_path / 'a.jsonl', [record('12'), record('12', label='13')])
    numbered = [record(text, sample=n) for text, n in (('12', 1), ('13', 0))]
    (example,) = read(tmp_path / 'a.jsonl', numbered)['train']
    assert [s.answer for s in example.samples] == ['13', '12']
    with pytest.raises(InputError, match="line 2: field 'sample': expected a number of its own"):
        read(tmp_path / 'a.jsonl', [record('12', sample=0), record('13', sample=0)])


def test_the_words_of_other_libraries_are_known(tmp_path):
    share = [{'from': 'system', 'value': 's'}, {'from': 'human', 'value': 'What is 3 * 4?'},
             {'from': 'gpt', 'value': '12'}]  # fmt: skip
    parts = [
        turn('developer', 's'),
        turn(
            'user', [{'type': 'text', 'text': 'What is'}, {'type': 'input_text', 'text': '3 * 4?'}]
        ),
        turn('assistant', [{'type': 'thinking', 'thinking': 'Three fours.'}, {'text': '12'}]),
    ]
    records = [
        {'id': 'a', 'conversations': share, 'label': '12'},
        {'id': 'b', 'messages': parts, 'label': '12'},
    ]
    first, second = read(tmp_path / 'a.jsonl', records)['train']
    assert (first.input, first.samples[0].answer) == ('What is 3 * 4?', '12')
    assert second.input == 'What is\n3 * 4?'
    assert (second.samples[0].answer, second.samples[0].rationale) == ('12', 'Three fours.')


def test_calls_of_tools_are_no_answers(tmp_path):
    messages = [
        turn('user', 'What is 3 * 4?'),
        turn('assistant', 'I compute.', tool_calls=[{'id': '1'}]),
        turn('tool', '11'),
        turn('assistant', '12', tool_calls=None),
        turn('assistant', None),
    ]
    (example,) = read(tmp_path / 'a.jsonl', [{'messages': messages, 'label': '12'}])['train']
    assert [s.text for s in example.samples] == ['12']


def test_a_conversation_may_have_choices_and_no_answer(tmp_path):
    record = {'messages': [turn('user', 'Where?')], 'label': 'b', 'options': ['zoo', 'park']}
    (example,) = read(tmp_path / 'a.jsonl', [record], 'choice')['train']
    assert (example.input, example.label) == ('Where?\nAnswer Choices:\n(a) zoo\n(b) park', 'park')
    assert example.samples == ()


def test_a_question_with_answers_is_read_without_its_messages():
    assert not conversations.is_conversation({'input': 'q', 'text': 'a', 'messages': []})
    assert conversations.is_conversation({'text': 'rendered', 'messages': []})


@pytest.mark.parametrize(
    ('messages', 'message'),
    [
        ('no', "field 'messages': expected a list of messages, got 'no'"),
        ([], "field 'messages': expected a turn of the user, got []"),
        ([turn('assistant', '12')], "field 'messages': expected a turn of the user"),
        (['no'], "field 'messages[0]': expected an object, got 'no'"),
        (
            [turn('wizard', 'q')],
            "field 'messages[0].role': expected one of system, user, assistant",
        ),
        ([{'content': 'q'}], "field 'messages[0].role': expected one of system"),
        ([turn('user', None)], "field 'messages[0].content': expected a text or a list of parts"),
        ([turn('user', 3)], "field 'messages[0].content': expected a text or a list of parts"),
        ([turn('user', [{'type': 'image_url'}])], "'messages[0].content[0]': expected a part with"),
        ([turn('user', ' ')], "field 'messages[0]': expected a text that is not empty"),
        ([turn('user', 'q\ud800')], "field 'messages[0]': expected Unicode"),
        (
            [turn('user', 'q'), turn('assistant', '1', reasoning=[1])],
            "field 'messages[1].reasoning': expected a text, got [1]",
        ),
    ],
)
def test_bad_messages_are_named(tmp_path, messages, message):
    with pytest.raises(InputError) as error:
        read(tmp_path / 'a.jsonl', [{'messages': messages, 'label': '1'}])
    assert message in str(error.value)
    assert 'a.jsonl, line 1: ' in str(error.value)


def test_a_conversation_needs_a_label(tmp_path):
    with pytest.raises(InputError, match="field 'label': expected a text, got None"):
        read(tmp_path / 'a.jsonl', [{'messages': [turn('user', 'q')]}])
