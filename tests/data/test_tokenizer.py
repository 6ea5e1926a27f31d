"""The tokenizer trained on the data round-trips text, is deterministic, and reloads."""

import json
import shutil
import subprocess
import sys

import pytest
import sentencepiece
import transformers

from qcrd_jax.config import base_config
from qcrd_jax.data.encoding import Encoding, encode
from qcrd_jax.data.schema import Example, TeacherSample
from qcrd_jax.data.sources import builders, mwp
from qcrd_jax.data.special_tokens import special_ids, unknown_id
from qcrd_jax.data.tokenizer import load_tokenizer, train_tokenizer
from qcrd_jax.errors import InputError

PREFIXES = ('predict: ', 'explain: ')


def texts():
    examples = mwp.generate(mwp.Settings(train=300, validation=1, test=1))['train']
    return [
        text
        for example in examples
        for text in (example.input, example.label, *(s.rationale for s in example.samples))
    ]


@pytest.fixture(scope='module')
def tokenizer():
    return train_tokenizer(texts(), 2000, required=PREFIXES)


def tokens(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text)['input_ids'])


def test_special_ids_are_those_of_t5(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)


def test_digits_and_punctuation_stand_alone(tokenizer):
    assert tokens(tokenizer, '( 84 / 2 )') == ['▁(', '▁8', '4', '▁/', '▁2', '▁)', '</s>']
    assert tokens(tokenizer, '12.50')[:-1] == ['▁1', '2', '.', '5', '0']
    for piece in tokenizer.get_vocab():
        digits = [character for character in piece if character.isdigit()]
        assert len(digits) <= 1
        assert not digits or piece.strip('▁') == digits[0]


def test_frequent_words_are_one_piece(tokenizer):
    assert tokens(tokenizer, 'predict: How many pens')[:2] == ['▁predict', ':']
    assert tokens(tokenizer, 'How many')[:-1] == ['▁How', '▁many']


@pytest.mark.parametrize(
    'text',
    [
        '( 84 / 2 )',
        '( ( 12.0 + 5.0 ) - 3 )',
        'predict: Anna has 28 boxes of 4 pens each. How many pens in all?',
        'explain: A box holds 3 cups.',
        '1,234 * 0.5 = 617',
        '',
    ],
)
def test_round_trip(tokenizer, text):
    ids = tokenizer(text)['input_ids']
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_every_training_text_round_trips(tokenizer):
    for text in texts()[:500]:
        ids = tokenizer(text)['input_ids']
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_characters_of_prefixes_are_known_though_no_text_has_them():
    tokenizer = train_tokenizer(['aaa bbb'], required=['<Zq>: '])
    assert tokenizer.unk_token_id not in tokenizer('<Zq>: ab 7')['input_ids']
    assert tokenizer.unk_token_id in tokenizer('c')['input_ids']


def test_the_same_texts_give_the_same_tokenizer_in_every_process():
    program = (
        'from qcrd_jax.data.tokenizer import train_tokenizer\n'
        'words = [f"w{a}{b} says {b}{a}." for a in "abcdefgh" for b in "ijklmnop"]\n'
        'print(train_tokenizer(words[::-1] + words, 300).backend_tokenizer.to_str())'
    )
    words = [f'w{a}{b} says {b}{a}.' for a in 'abcdefgh' for b in 'ijklmnop']
    output = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True
    ).stdout
    assert train_tokenizer(words, 300).backend_tokenizer.to_str() == output.rstrip('\n')


def test_vocabulary_is_bounded():
    assert len(train_tokenizer(texts(), 100)) <= 100
    with pytest.raises(InputError, match=r'student\.vocab_size: 20 pieces cannot hold'):
        train_tokenizer(texts(), 20)
    with pytest.raises(InputError, match='no text to train'):
        train_tokenizer([])


def test_saves_and_reloads_by_auto_tokenizer(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    for reloaded in (
        transformers.AutoTokenizer.from_pretrained(tmp_path),
        load_tokenizer(str(tmp_path)),
    ):
        for text in texts()[:50]:
            assert reloaded(text)['input_ids'] == tokenizer(text)['input_ids']
        assert (reloaded.pad_token_id, reloaded.eos_token_id) == (0, 1)


T5 = {'pad_id': 0, 'eos_id': 1, 'unk_id': 2, 'bos_id': -1}
LLAMA = {'unk_id': 0, 'bos_id': 1, 'eos_id': 2, 'pad_id': -1}


@pytest.fixture(scope='module')
def sentences(tmp_path_factory):
    """What SentencePiece models are trained on."""
    path = tmp_path_factory.mktemp('sentences') / 'sentences.txt'
    path.write_text('\n'.join(sorted(set(texts()))))
    return path


@pytest.fixture
def trained(sentences, tmp_path):
    """Returns a folder with only a `spiece.model`, and what SentencePiece itself makes of it."""

    def train(**options):
        sentencepiece.SentencePieceTrainer.train(
            input=str(sentences),
            model_prefix=str(tmp_path / 'spiece'),
            hard_vocab_limit=False,
            minloglevel=3,
            **{'model_type': 'unigram', 'vocab_size': 400, **options},
        )
        (tmp_path / 'spiece.vocab').unlink()
        path = tmp_path / 'spiece.model'
        return str(tmp_path), sentencepiece.SentencePieceProcessor(model_file=str(path))

    return train


STRANGE = ['a {b} ~ <x>\n y\tz', 'é ﬁ ½ “q” – —', '  two   spaces ', '', ' ', '日本 pens', 'ＡＢＣ']


@pytest.mark.parametrize(
    ('options', 'pad', 'eos', 'unknown'),
    [
        (T5, 0, 1, 2),
        (LLAMA, None, 2, 0),
        (LLAMA | {'pad_id': 3}, 3, 2, 0),
        (T5 | {'eos_piece': '<end>', 'pad_piece': '<nothing>'}, 0, 1, 2),
        (T5 | {'unk_piece': '[UNK]', 'unk_id': 1, 'eos_id': 2}, 0, 2, 1),
        (T5 | {'byte_fallback': True}, 0, 1, None),
        (LLAMA | {'byte_fallback': True}, None, 2, None),
        (T5 | {'model_type': 'char'}, 0, 1, 2),
    ],
)
def test_a_sentencepiece_model_is_read_with_its_own_special_ids(
    trained, options, pad, eos, unknown, tmp_path
):
    folder, itself = trained(**options)
    tokenizer = load_tokenizer(folder)
    # Without padding of its own a model gets a token more for it.
    assert special_ids(tokenizer) == (len(itself) if pad is None else pad, eos)
    assert unknown_id(tokenizer) == unknown
    # It is the same where it was saved, as beside an exported student.
    tokenizer.save_pretrained(tmp_path / 'saved')
    again = [
        transformers.AutoTokenizer.from_pretrained(tmp_path / 'saved'),
        load_tokenizer(str(tmp_path / 'saved')),
    ]
    for text in [*texts()[:300], *STRANGE]:
        expected = [*itself.encode(text), eos]
        for each in (tokenizer, *again):
            assert each(text)['input_ids'] == expected
        assert expected.count(eos) == 1
    if unknown is None:
        assert (
            tokenizer.decode(tokenizer('日本 é')['input_ids'], skip_special_tokens=True) == '日本 é'
        )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (T5 | {'eos_id': -1, 'bos_id': 1}, r'no EOS.*pad 0, eos -1, unk 2; expected pad 0, eos 1'),
        (T5 | {'model_type': 'bpe'}, 'not a model of the kind that T5 has'),
        (T5 | {'model_type': 'word'}, 'not a model of the kind that T5 has'),
        (T5 | {'add_dummy_prefix': False}, 'not a model of the kind that T5 has'),
        (T5 | {'normalization_rule_name': 'identity'}, 'not a model of the kind that T5 has'),
        (T5 | {'remove_extra_whitespaces': False}, 'not a model of the kind that T5 has'),
        (LLAMA | {'treat_whitespace_as_suffix': True}, 'not a model of the kind that T5 has'),
        (T5 | {'user_defined_symbols': ['<sep>', 'pens']}, 'not a model of the kind that T5 has'),
        (T5 | {'split_by_whitespace': False}, r'Name a folder with a tokenizer\.json'),
    ],
)
def test_a_sentencepiece_model_that_would_be_misread_is_refused(trained, options, message):
    folder, _ = trained(**options)
    with pytest.raises(InputError, match=message):
        load_tokenizer(folder)


def test_a_small_sentencepiece_model_with_other_ids_than_t5(shared_data, tmp_path):
    shutil.copy(shared_data / 'tokenizer' / 'spiece.model', tmp_path)
    itself = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / 'spiece.model'))
    assert (itself.pad_id(), itself.eos_id(), itself.unk_id()) == (-1, 2, 0)
    tokenizer = load_tokenizer(str(tmp_path))
    ids = tokenizer('This is a test')['input_ids']
    assert ids == [*itself.encode('This is a test'), 2]
    assert tokenizer.decode(ids, skip_special_tokens=True) == 'This is a test'
    assert tokenizer('{')['input_ids'] == [*itself.encode('{'), 2]
    assert itself.encode('{')[-1] == itself.unk_id()


@pytest.mark.parametrize('name', ['svamp', 'cqa'])
def test_t5_reads_real_questions_and_rationales_as_sentencepiece_does(name, shared_data, tmp_path):
    shutil.copy(shared_data / 'tokenizer' / 't5_spiece.model', tmp_path / 'spiece.model')
    itself = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / 'spiece.model'))
    tokenizer = load_tokenizer(str(tmp_path))
    assert (*special_ids(tokenizer), unknown_id(tokenizer)) == (0, 1, 2)
    config = base_config()
    config.data.update(name=name, source=str(shared_data / 'dss'))
    read = {
        text
        for split in builders.load(config.data, tmp_path / 'data').splits.values()
        for example in split
        for text in (example.input, example.label, *(s.rationale for s in example.samples))
    }
    read = sorted(read)
    assert len(read) > 1500
    for text, ids in zip(read, tokenizer(read)['input_ids'], strict=True):
        assert ids == [*itself.encode(text), 1], text


def test_an_unknown_token_that_is_read_as_eos_is_refused(trained, tmp_path):
    """transformers' T5Tokenizer takes 2 for the unknown id, whatever a tokenizer.json says."""
    folder, _ = trained(**LLAMA)
    tokenizer = load_tokenizer(folder)
    tokenizer.save_pretrained(tmp_path / 'saved')
    settings = tmp_path / 'saved' / 'tokenizer_config.json'
    fields = json.loads(settings.read_text())
    settings.write_text(json.dumps(fields | {'tokenizer_class': 'T5Tokenizer'}))
    with pytest.raises(InputError, match=r'becomes token 2, which is EOS.*PreTrainedTokenizerFast'):
        load_tokenizer(str(tmp_path / 'saved'))


def test_special_tokens_in_texts_are_no_special_tokens(trained):
    """Only `</s>` in a question is one, between premise and hypothesis, as DSS has it."""
    folder, _ = trained(**T5)
    written = 'so </s> it <pad> is <extra_id_1>'
    example = Example(
        '1',
        'A man</s>sleeps <pad>',
        'seven </s> pens',
        (TeacherSample(written, written, 'seven </s> pens', 't'),),
    )
    for tokenizer in (load_tokenizer(folder), train_tokenizer(texts(), 500)):
        pad, eos = special_ids(tokenizer)
        split = encode([example], tokenizer, Encoding(('<pad> ', 'explain: '), 'text'))
        assert split.question[0].tolist().count(eos) == 2
        assert split.predict[0].tolist()[0] == pad  # a prefix is written as it is meant
        assert split.predict[0].tolist().count(pad) == 1
        for ids in (split.label[0].tolist(), split.positives[0][0].tolist()):
            assert ids.count(eos) == 1 and ids[-1] == eos and pad not in ids
            assert '/s' in tokenizer.decode(ids, skip_special_tokens=True).replace(' ', '')


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r'neither tokenizer\.json nor spiece\.model'):
        load_tokenizer(str(tmp_path))
    (tmp_path / 'spiece.model').write_bytes(b'not a model')
    with pytest.raises(InputError, match=r'spiece\.model: cannot be read'):
        load_tokenizer(str(tmp_path))
    (tmp_path / 'tokenizer.json').write_text('{"not": "a tokenizer"}')
    with pytest.raises(InputError, match=r'tokenizer\.json: model: expected an object with a voc'):
        load_tokenizer(str(tmp_path))


def test_hub_id_without_network_names_the_flags(monkeypatch):
    monkeypatch.setattr('qcrd_jax.data.tokenizer._hub_answers', lambda: False)
    with pytest.raises(InputError, match=r"--config\.student\.tokenizer=<folder>.*pretrained=''"):
        load_tokenizer('nobody/no-such-model')


def test_frequent_numbers_are_one_piece_where_digits_need_not_be_apart():
    sentences = [f'{number} pens and {number} cups' for number in (7, 42, 99)] * 3
    whole, split = (
        train_tokenizer([*sentences, '5 6 1 3'], 300, split_digits=split) for split in (False, True)
    )

    def pieces(tokenizer, text):
        return tokenizer.convert_ids_to_tokens(tokenizer(text)['input_ids'])[:-1]

    assert pieces(whole, '( 42 / 7 )') == ['▁(', '▁42', '▁/', '▁7', '▁)']
    assert pieces(split, '( 42 / 7 )') == ['▁(', '▁4', '2', '▁/', '▁7', '▁)']
    # A number that was never seen is read digit by digit, and comes back as it was.
    assert (
        whole.decode(whole('4199 - 5613')['input_ids'], skip_special_tokens=True) == '4199 - 5613'
    )
    assert whole.unk_token_id not in whole('4199 - 5613')['input_ids']
