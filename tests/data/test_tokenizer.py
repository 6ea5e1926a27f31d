"""The tokenizer trained on the data round-trips text, is deterministic, and reloads."""

import shutil
import subprocess
import sys

import pytest
import transformers

from qcrd_jax.data.sources import mwp
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


def test_folder_with_only_a_sentencepiece_model(shared_data, tmp_path):
    shutil.copy(shared_data / 'tokenizer' / 'spiece.model', tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    ids = tokenizer('This is a test')['input_ids']
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == 'This is a test'


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r'neither tokenizer\.json nor spiece\.model'):
        load_tokenizer(str(tmp_path))
    (tmp_path / 'spiece.model').write_bytes(b'not a model')
    with pytest.raises(InputError, match=r'spiece\.model: cannot be read'):
        load_tokenizer(str(tmp_path))
    (tmp_path / 'tokenizer.json').write_text('{"not": "a tokenizer"}')
    with pytest.raises(InputError, match='no tokenizer could be read from this folder'):
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
