"""A key is hidden where it stands, and nowhere else is anything changed."""

import pytest

from qcrd_jax.teacher.redaction import Redaction

KEY = 'sk-secret-0123456789'


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        (KEY, '<key>'),
        (f'Bearer {KEY}', 'Bearer <key>'),
        (f'"{KEY}", ({KEY}).', '"<key>", (<key>).'),
        (f'?key={KEY}&x=1', '?key=<key>&x=1'),
        (f'密钥{KEY}无效', '密钥<key>无效'),  # no spaces, and no longer word
        (f'{KEY}0', f'{KEY}0'),
        (f'x{KEY}', f'x{KEY}'),
        (f'{KEY}-2 and a_{KEY}', f'{KEY}-2 and a_{KEY}'),
        (KEY.upper(), KEY.upper()),
        ('sk-secret', 'sk-secret'),
    ],
)
def test_a_key_is_hidden_where_it_stands_as_a_whole(text, shown):
    assert Redaction(KEY).answer(text) == Redaction(KEY).message(text) == shown


@pytest.mark.parametrize('key', ['', 'none', '42', 'a', '.', 'EMPTY', 'sk-1234', '(', '1 2'])
def test_a_short_key_alters_no_answer(key):
    text = 'There are none (42), a 1 2 . EMPTY sk-1234 429 4.2'
    assert Redaction(key).answer(text) == text
    assert Redaction(key).message(text) == text


def test_a_short_key_is_hidden_where_it_stands_as_a_key():
    assert Redaction('42').message('wrong: Bearer 42, not 429') == 'wrong: Bearer <key>, not 429'
    assert Redaction('42').answer('wrong: Bearer 42') == 'wrong: Bearer 42'


def test_a_key_of_digits_is_no_part_of_a_longer_number():
    redaction = Redaction('12345678')
    kept = '12345678.5, 1.12345678, 1,12345678, 112345678, 12345678,000'
    assert redaction.answer(kept) == kept
    assert redaction.answer('It is 12345678. Or 12345678, or $12345678.') == (
        'It is <key>. Or <key>, or $<key>.'
    )


def test_signs_in_a_key_are_no_pattern():
    assert Redaction('a.c+(d)[e]').answer('a.c+(d)[e] abc+(d)[e]') == '<key> abc+(d)[e]'


def test_the_beginning_of_a_key_before_a_cut_is_hidden_too():
    for cut in range(8, len(KEY) + 1):
        assert Redaction(KEY).message(f'wrong: {KEY[:cut]}...') == 'wrong: <key>...'
    assert Redaction(KEY).message('wrong: sk-s...') == 'wrong: sk-s...'
