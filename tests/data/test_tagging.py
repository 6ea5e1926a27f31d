"""Parts of speech by rules against sentences tagged by hand, and stanza's real documents."""

import builtins
import sys

import pytest

from qcrd_jax.data import tagging
from qcrd_jax.data.tagging import Word, load_tagger, rules
from qcrd_jax.errors import InputError

# word/tag by hand, after the universal guidelines; only what augmentation looks at is compared.
SENTENCES = """
Anna/PROPN gave/VERB 12/NUM pens/NOUN to/PART her/DET best/ADJ friend/NOUN
The/DET answer/NOUN must/AUX be/AUX a/DET place/NOUN where/SCONJ sermons/NOUN are/AUX given/VERB
Two/NUM women/NOUN are/AUX not/PART necessarily/ADV sisters/NOUN
The/DET dog/NOUN has/VERB two/NUM toys/NOUN
The/DET dog/NOUN has/AUX eaten/VERB the/DET cake/NOUN
He/PRON does/AUX not/PART like/VERB rain/NOUN
We/PRON do/VERB the/DET laundry/NOUN
The/DET system/NOUN comprises/VERB the/DET routes/NOUN
Only/ADV smoking/VERB would/AUX prevent/VERB the/DET sale/NOUN
A/DET smaller/ADJ building/NOUN was/AUX sold/VERB on/ADP Monday/PROPN
He/PRON could/AUX defeat/VERB an/DET opponent/NOUN
Being/AUX active/ADJ requires/VERB a/DET rest/NOUN
""".strip().splitlines()


@pytest.mark.parametrize('sentence', SENTENCES)
def test_rules_against_tags_by_hand(sentence):
    pairs = [pair.rsplit('/', 1) for pair in sentence.split()]
    text = ' '.join(word for word, _ in pairs)
    tagged = [(text[start:end], tag) for start, end, tag in rules(text)]
    assert [word for word, _ in tagged] == [word for word, _ in pairs]
    ignored = {'PART', 'ADP', 'SCONJ', 'DET', 'PRON'}
    expected = [(word, tag) for word, tag in pairs if tag not in ignored]
    assert [pair for pair in tagged if tuple(pair) in expected] == [
        tuple(pair) for pair in expected
    ]


def test_without_capitals_an_unknown_word_is_left_alone():
    text = 'alexandra bastedo was a vegetarian and an animal welfare advocate'
    tags = {text[start:end]: tag for start, end, tag in rules(text)}
    assert tags['alexandra'] == tags['bastedo'] == 'X'
    assert tags['vegetarian'] == 'NOUN'


@pytest.mark.parametrize(
    'text', ['', ' ', '😀', '...', '\x00', "n't", "can't", 'don’t', '1.5.2', 'a-b-']
)
def test_spans_are_ordered_and_inside_the_text(text):
    place = 0
    for start, end, tag in rules(text):
        assert place <= start < end <= len(text)
        assert tag
        place = end


def test_contractions_are_parted_before_their_not():
    assert rules("can't")[0] == Word(0, 2, 'AUX')


def test_unknown_name():
    with pytest.raises(InputError, match=r'data\.tagger: expected rules \| stanza, got .spacy.'):
        load_tagger('spacy')


def test_without_stanza_the_error_says_what_to_do(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == 'stanza':
            raise ModuleNotFoundError("No module named 'stanza'")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, 'stanza', raising=False)
    monkeypatch.setattr(builtins, '__import__', missing)
    with pytest.raises(InputError) as error:
        load_tagger('stanza')
    assert 'pip install stanza' in str(error.value)
    assert '--config.data.tagger=rules' in str(error.value)


def test_stanza_without_models_says_what_to_do(monkeypatch, tmp_path):
    stanza = pytest.importorskip('stanza')
    real = stanza.Pipeline
    monkeypatch.setattr(
        stanza, 'Pipeline', lambda *args, **kw: real(*args, dir=str(tmp_path), **kw)
    )
    with pytest.raises(InputError) as error:
        load_tagger('stanza')
    for part in ('stanza.download', 'STANZA_RESOURCES_DIR', '--config.data.tagger=rules'):
        assert part in str(error.value)


def test_words_of_a_stanza_document():
    doc = pytest.importorskip('stanza.models.common.doc')
    text = "Cats don't run. ok"
    document = doc.Document(
        [
            [
                {'id': 1, 'text': 'Cats', 'upos': 'NOUN', 'start_char': 0, 'end_char': 4},
                {'id': (2, 3), 'text': "don't", 'start_char': 5, 'end_char': 10},
                {'id': 2, 'text': 'do', 'upos': 'AUX'},
                {'id': 3, 'text': "n't", 'upos': 'PART'},
                {'id': 4, 'text': 'run', 'upos': 'VERB', 'start_char': 11, 'end_char': 14},
                {'id': 5, 'text': '.', 'upos': 'PUNCT', 'start_char': 14, 'end_char': 15},
            ],
            [{'id': 1, 'text': 'ok', 'upos': 'INTJ', 'start_char': 16, 'end_char': 18}],
        ],
        text=text,
    )
    assert tagging.document_words(document) == [
        Word(0, 4, 'NOUN'), Word(5, 10, 'AUX'), Word(11, 14, 'VERB'), Word(14, 15, 'PUNCT'),
        Word(16, 18, 'INTJ'),
    ]  # fmt: skip
