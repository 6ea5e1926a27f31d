"""Tokens without a piece: counted as SentencePiece itself counts them, and traced to characters."""

import json
import shutil

import pytest
import sentencepiece
import tokenizers
import transformers
from absl import logging
from tokenizers import models, pre_tokenizers

from qcrd_jax import modes
from qcrd_jax.config import base_config
from qcrd_jax.data.encoding import Encoding, encode
from qcrd_jax.data.schema import Example, TeacherSample
from qcrd_jax.data.special_tokens import unknown_id
from qcrd_jax.data.tokenizer import load_tokenizer, train_tokenizer
from qcrd_jax.data.unknown import Share, UnknownTokens, as_text, name_of, warn

ENCODING = Encoding(('predict: ', 'explain: '), 'equation')


def sample(rationale, answer='7'):
    return TeacherSample(rationale, rationale, answer, 't')


def looked_at(tokenizer, examples, encoding=ENCODING):
    unknown = UnknownTokens(encode(examples, tokenizer, encoding), tokenizer)
    for place, example in enumerate(examples):
        unknown.add(place, example, encoding.samples)
    return unknown


@pytest.fixture
def tokenizer():
    return train_tokenizer(['the cats have pens , she has 7 .'] * 3)


def test_counts_by_hand(tokenizer):
    examples = [
        Example('0', 'the cats', '7'),
        Example('1', 'the é cats é', '€ 7', (sample('she has ~'), sample('the cats'))),
        Example('2', 'the ß cats', '7', (sample('she', '8'), sample('ß ß'), sample('7'))),
    ]
    unknown = looked_at(tokenizer, examples)
    lengths = [len(tokenizer(example.input)['input_ids']) - 1 for example in examples]
    assert unknown.shares['question'] == Share(sum(lengths), 3)
    assert unknown.shares['label'].unknown == 1
    assert unknown.shares['rationale'].unknown == 3  # also of what becomes a negative
    assert unknown.commonest() == [('ß', 3), ('é', 2), ('~', 1), ('€', 1)]
    report = unknown.report()
    assert report['question']['share'] == 3 / sum(lengths)
    assert report['characters'][0] == {
        'character': 'ß',
        'name': 'U+00DF LATIN SMALL LETTER SHARP S',
        'count': 3,
    }
    text = as_text({'train': unknown})
    assert "  train: 'ß' U+00DF LATIN SMALL LETTER SHARP S: 3 times" in text
    assert "  train: '€' U+20AC EURO SIGN: once" in text


def test_only_the_samples_that_are_used_count(tokenizer):
    examples = [Example('1', 'the', '7', (sample('she'), sample('é')))]
    unknown = looked_at(tokenizer, examples, Encoding(('', ''), 'equation', samples=1))
    assert unknown.shares['rationale'].unknown == 0
    assert unknown.commonest() == []
    assert as_text({'train': unknown}) == ''


def test_nothing_to_count_is_no_division_by_zero(tokenizer):
    report = looked_at(tokenizer, [Example('1', 'the', '7')]).report()
    assert report['rationale'] == {'tokens': 0, 'unknown': 0, 'share': None}


def test_the_token_itself_in_a_text_is_named_as_such(tokenizer):
    assert looked_at(tokenizer, [Example('1', 'the <unk> cats', '7')]).commonest() == [('<unk>', 1)]
    assert name_of('<unk>') == 'the text <unk>'


def byte_level(**special):
    """As Qwen's: every byte has a piece, and the end of a text serves as unknown token as well."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: number for number, text in enumerate([*alphabet, '<|end|>', '<|pad|>'])}
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token='<|end|>', pad_token='<|pad|>', **special
    )


@pytest.mark.parametrize('special', [{}, {'unk_token': '<|end|>'}])
def test_a_tokenizer_of_bytes_has_no_unknown_tokens(special):
    tokenizer = byte_level(**special)
    assert unknown_id(tokenizer) is None
    unknown = looked_at(tokenizer, [Example('1', 'é\U0010fffd <|end|>', 'ß', (sample('日本'),))])
    assert [share.unknown for share in unknown.shares.values()] == [0, 0, 0]
    assert unknown.report()['characters'] == []


def test_a_warning_says_what_to_do(tokenizer, monkeypatch):
    said = []
    monkeypatch.setattr(logging, 'warning', lambda text, *args: said.append(text % args))
    often = looked_at(tokenizer, [Example('1', 'the cats é', '7')])
    # 1 of 1000 or of 999 tokens: `▁`, the unknown one, and one for every 7.
    seldom, at_last = (
        looked_at(tokenizer, [Example('1', 'é' + ' 7' * (number - 2), '7')])
        for number in (1000, 999)
    )
    assert (seldom.shares['question'], at_last.shares['question']) == ((1000, 1), (999, 1))
    warn({'train': often, 'test': seldom, 'validation': at_last})
    assert len(said) == 2
    assert said[0].startswith('train: the tokenizer has no piece for ')
    assert "% of the tokens of its questions, most often for 'é'" in said[0]
    assert '--config.student.tokenizer=' in said[0]
    assert '\n' not in said[0]
    assert said[1].startswith('validation: ')


def test_as_sentencepiece_counts_itself(shared_data, tmp_path):
    shutil.copy(shared_data / 'tokenizer' / 't5_spiece.model', tmp_path / 'spiece.model')
    itself = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / 'spiece.model'))
    texts = ['{x} < 5', 'a ~ b', 'Café “½” ÷ 2', 'one\ntwo', '日本 ~日', 'plain text']
    unknown = looked_at(load_tokenizer(str(tmp_path)), [Example(t, t, '1') for t in texts])
    expected = [itself.encode(text) for text in texts]
    assert unknown.shares['question'] == Share(
        sum(map(len, expected)), sum(ids.count(itself.unk_id()) for ids in expected)
    )
    # Runs of characters without a piece are one token, and ½ is unknown for its fraction slash.
    expected = {'{': 1, '}': 1, '<': 1, '~': 2, '½': 1, '÷': 1, '日': 2, '本': 1}
    assert dict(unknown.commonest()) == expected


def test_prepare_reports_and_prints_it(tmp_path, capsys, shared_data):
    folder = tmp_path / 't5'
    folder.mkdir()
    shutil.copy(shared_data / 'tokenizer' / 't5_spiece.model', folder / 'spiece.model')
    records = [
        {'id': str(place), 'split': split, 'input': f'Is {{x}} more than {place}?', 'label': '7'}
        for place, split in enumerate(['train', 'train', 'validation', 'test'])
    ]
    source = tmp_path / 'mine.jsonl'
    source.write_text(''.join(json.dumps(record) + '\n' for record in records))
    config = base_config()
    config.data.update(name='custom', answer_type='equation', source=str(source))
    config.student.update(pretrained='', size='tiny', tokenizer=str(folder))
    modes.run('prepare', config, tmp_path / 'run')
    report = json.loads((tmp_path / 'run' / 'prepare.json').read_text())
    counts = report['train']['unknown']
    assert counts['question']['unknown'] == 4
    assert counts['label']['unknown'] == 0
    assert [(each['character'], each['count']) for each in counts['characters']] == [
        ('{', 2),
        ('}', 2),
    ]
    printed = capsys.readouterr().out
    assert '| unknown tokens of questions' in printed
    assert "  train: '{' U+007B LEFT CURLY BRACKET: 2 times" in printed
