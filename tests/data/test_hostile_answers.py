"""Hostile text is data: nothing of it is run or read, and time grows only with its length."""

import signal

import pytest

from qcrd_jax.data.answers import MAX_CHARACTERS, answers_match, canonical
from qcrd_jax.data.schema import NLI_CLASSES
from qcrd_jax.data.teacher_output import MAX_TEXT, parse_answer

_PLACES = ('bank', 'math problem', 'grocery store', 'bank vault', "neighbor's house")


@pytest.fixture(autouse=True)
def hang_protection():
    """Turns a catastrophic pattern into a failure; nothing here takes a hundredth of it."""

    def stop(*_):
        raise TimeoutError('not done after two minutes')

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


_MEGABYTES = 10_000_000

_HOSTILE = {
    'call': '__import__("os").system("touch pwned")',
    'eval': "eval(compile('1+1', 'x', 'eval'))",
    'attribute': '().__class__.__bases__[0].__subclasses__()',
    'lambda': '(lambda: exit())()',
    'statement': 'import os; os.remove("x")',
    'power': '9**9**9',
    'power of a bracket': '(9)**(9)**(9)',
    'caret': '9^9^9',
    'shift': '1<<9999999',
    'factorials': '9!!!^9',
    'hexadecimal': '0xFFFFFFFF',
    'exponent': '1e999',
    'float': '1.5.2.5',
    'not a number': 'NaN',
    'infinity': 'inf',
    'minus infinity': '-Infinity',
    'infinity sign': '\N{INFINITY}',
    'null': 'null',
    'none': 'None',
    'zero division': '1 / ( 1 - 1 )',
    'arabic digits': '\u0664\u0662',
    'fullwidth digits': '\uff14\uff12',
    'superscripts': '5\u00b2',
    'roman': '\N{ROMAN NUMERAL TWELVE}',
    'half': '\u00bd',
    'nulls': '\0' * 900,
    'surrogates': '\ud800\udfff\udc00',
    'reordered': '\u202e24 lartuen\u202c',
    'isolates': '\u206642\u2069',
    'zero width': '\u200b\u200d\ufeff',
    'combining': 'e' + '\u0301' * 900,
    'format field': '{0.__class__.__init__.__globals__}',
    'format width': '{:>9999999999}',
    'percent': '%s%s%n %9999999d',
    'template': '{{7*7}}${7*7}#{7*7}<%= 7*7 %>',
    'shell': '$(rm -rf /); `reboot` | tee /dev/null',
    'path': '../../../../etc/passwd',
    'query': "'; DROP TABLE answers; --",
    'html': '<script>alert(1)</script>',
    'entities': '&#52;&#50; &lol; &lol;',
    'json': '{"answer": {"answer": {"answer": 42}}}',
    'xml': '<!ENTITY x SYSTEM "file:///etc/passwd">',
    'escapes': '\x1b[2J\x07\x08\x7f',
    'latex': '\\input{/etc/passwd}\\write18{ls}',
    'regex': '(?:(?:x+)+)+$ [[:alpha:]]*{99999}',
    'brackets': '(' * 900,
    'nested': '(' * 400 + '1' + ')' * 400,
    'signs': '-' * 900 + '1',
    'digits': '9' * 900,
    'numbers': '1 ' * 450,
    'sum': '1+' * 449 + '1',
    'thousands': ',999' * 225,
    'fractions': '\\frac{1}{' * 80,
    'stars': '**' * 450,
    'asides': '(ab' * 300,
    'words': 'ab ' * 300,
    'letters in brackets': '(a)(b)' * 150,
    'every class': 'neutral entailment ' * 50,
    'every option': 'bank grocery store ' * 45,
    **{
        f'10 MB of {unit!r}': unit * (_MEGABYTES // len(unit))
        for unit in ('(', ')', '9', ' ', '\n', 'a', '*', '{', '\\', '9**', '1/7+', 'the answer is ')
    },
}


def _options(answer_type):
    return {'choice': _PLACES, 'class': NLI_CLASSES}.get(answer_type, ())


@pytest.mark.parametrize('answer_type', ['equation', 'choice', 'class'])
@pytest.mark.parametrize('name', _HOSTILE)
def test_hostile_text_is_unreadable(name, answer_type, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, options = _HOSTILE[name], _options(answer_type)
    assert canonical(text, answer_type, options) is None
    assert not answers_match(text, text, answer_type, options)
    assert parse_answer(text, answer_type, options)[1] == ''
    assert parse_answer(f'So the answer is {text}', answer_type, options)[1] == ''
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', _HOSTILE)
def test_hostile_text_is_only_text(name):
    text = _HOSTILE[name]
    value = canonical(text, 'text')
    # Casefolding makes three characters of one at most.
    assert value is None or (len(text) <= MAX_CHARACTERS and len(value) <= 3 * MAX_CHARACTERS)
    for part in parse_answer(f'So the answer is {text}', 'text'):
        part.encode('utf-8')


@pytest.mark.parametrize('answer_type', ['equation', 'choice'])
@pytest.mark.parametrize(
    'unit',
    [
        '\n', ' ', '\t', 'so ', 'so, ', 'so' + 50 * ' ', 'the ', 'the final answer ', 'answer',
        'answer is ', 'answer:', 'the answer is not ', 'the closest answer is ', 'answer would be ',
        'label:', 'correct option', '*', '#', '\n#', '\n##', '\n## ', '**answer', '\n**answer\n',
        'premise:', '\npremise:', ':\npremise:', 'answer:\npremise', '\n*premise', 'Q', '\nQ',
        '\nQ   1', '. ', '.', '!', '1', '1 ', '1     ', '1 - ', '1*', ',', ' ,;', '{', '}', '{}',
        '\\boxed', '\\boxed{', '\\boxed{}', '$', '\\[', '(', '(a', 'rationale:', '\nrationale:',
        '\n  (a', 'hence', 'for a total of ', '\ud800', '<think>', '</think>', '<answer>', '<<1',
        '<|im_start|>', '<|channel|>', '{"answer":"', '\n#### 5', '\nA: ', '**5**\n', 'Great! ',
        '\nbank: ', '\n- bank', '\n### Problem Breakdown:', 'Sure!\nQuestion: ', 'Let us:\n',
        '? bank', '$$\n', '\\[\n4\n', 'Answer:\n$$\n4', 'Answer:\n---\n', 'find the answer: ',
        'the answer is correct. ', 'the answer is a by , which is ', 'the answer is 5% of ',
        '```json\n{', 'Conclusion: ', '(the answer is )',
    ],
)  # fmt: skip
def test_no_pattern_takes_time_that_grows_faster_than_the_text(unit, answer_type):
    # As long as a text may be: quadratic time would be hours. What is read does not matter here.
    run = unit * (MAX_TEXT // len(unit))
    for text in (f'x{run[:-2]}x', f'answer is {run[:-10]}'):
        assert len(text) <= MAX_TEXT
        parse_answer(text, answer_type, _options(answer_type))


@pytest.mark.parametrize(
    'unit',
    [
        '(a)',
        'a)',
        '1x',
        '(ab',
        '**a',
        'not ',
        'bank ',
        '\\text{',
        '=',
        '-',
        'B; ',
        'because ',
        ', which ',
        '1,00,',
        '5–10 ',
        '5 thousand ',
        'one ',
        'one hundred and ',
        'a half ',
        'minus 5 ',
        'Rs.',
        '(5) ',
        'm^2 ',
        '\\frac12',
        '{,}',
        '1\u2009',
        ',',
        '1,',
        '+5 ',
        '9',
        '2 1/2 ',
        ' / h',
    ],
)
def test_no_pattern_explodes_on_an_answer(unit):
    text = unit * (MAX_CHARACTERS // len(unit))
    for answer_type in ('equation', 'choice', 'class', 'text'):
        canonical(text, answer_type, _options(answer_type))
