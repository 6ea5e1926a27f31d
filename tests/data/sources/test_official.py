"""The releases of the datasets, unpacked and converted from stand-ins in their own formats."""

import csv
import dataclasses
import importlib.util
import io
import json
import pathlib
import random
import threading
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from qcrd_jax.data.sources import download as downloads
from qcrd_jax.data.sources import official, originals
from qcrd_jax.data.sources.table import DATASETS, Remote
from qcrd_jax.errors import InputError
from tests.data.sources import test_download

server = test_download.server
REAL = {name: entry for name, entry in DATASETS.items() if entry.releases}


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """No test reaches a real server: every address is one at which nobody listens."""
    monkeypatch.setattr(downloads, 'PAUSES', ())
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.setattr(official, 'ARCHIVE', Remote('http://127.0.0.1:9/datasets.zip'))
    for name, entry in REAL.items():
        elsewhere = [Remote(f'http://127.0.0.1:9/{file.name}') for file in entry.originals.files]
        change(monkeypatch, name, originals=with_files(name, *elsewhere))


def change(monkeypatch, name, **fields):
    """Changes fields of a dataset's entry until the end of the test."""
    monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], **fields))


def with_files(name, *remotes):
    """The originals of a dataset, to be fetched from elsewhere."""
    return dataclasses.replace(REAL[name].originals, files=remotes)


@pytest.fixture
def sizes(monkeypatch):
    """Sets how many questions a dataset is expected to have."""
    return lambda name, **splits: change(monkeypatch, name, sizes=splits)


def put(folder, release='original', **files):
    """Puts files where their downloads would be; `_` in the name of a suffix is a dot."""
    folder = folder / release
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        stem, _, suffix = name.rpartition('_')
        data = content if isinstance(content, bytes) else content.encode()
        (folder / f'{stem}.{suffix}').write_bytes(data)


def jsonl(records):
    return ''.join(json.dumps(record) + '\n' for record in records)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def archive(members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w', zipfile.ZIP_DEFLATED) as content:
        for name, text in members.items():
            content.writestr(name, text)
    return data.getvalue()


# --- Where the files are --------------------------------------------------------------------------


def test_addresses_and_digests_are_those_that_tfds_publishes():
    (tfds,) = importlib.util.find_spec('tensorflow_datasets').submodule_search_locations
    published = {}
    for path in (
        'url_checksums/cos_e.txt',
        'url_checksums/esnli.txt',
        'datasets/anli/checksums.tsv',
    ):
        for line in pathlib.Path(tfds, path).read_text().splitlines():
            url, _, digest = line.split('\t')[:3]
            published[url] = digest
    for name in ('cqa', 'anli1', 'esnli'):
        for remote in REAL[name].originals.files:
            assert published[remote.url] == remote.sha256, remote.url


@pytest.mark.parametrize(
    ('name', 'release', 'message'),
    [('mwp', 'dss', 'data.name: expected one of svamp'), ('cqa', 'x', 'data.release: expected')],
)
def test_unknown_names_are_refused(name, release, message, tmp_path):
    with pytest.raises(InputError, match=message):
        official.fetch(name, tmp_path, release)


@pytest.mark.parametrize('release', ['dss', 'original'])
@pytest.mark.parametrize('name', list(REAL))
def test_offline_says_what_to_fetch_and_where_to_put_it(name, release, tmp_path):
    with pytest.raises(InputError, match=r'--config\.data\.source=<folder') as raised:
        official.fetch(name, tmp_path, release)
    files = (
        ['datasets.zip']
        if release == 'dss'
        else [remote.name for remote in REAL[name].originals.files]
    )
    for file in files:
        assert f'http://127.0.0.1:9/{file}' in str(raised.value)
        assert str(tmp_path / release / file) in str(raised.value)
    assert not list(tmp_path.rglob('*.partial'))


def test_two_processes_download_once(server, tmp_path, sizes, monkeypatch):
    sizes('svamp', train=1, test=0)
    monkeypatch.setattr(originals, 'SVAMP_TRAIN', 1)
    problem = {'Body': 'b', 'Question': 'q?', 'Equation': '( 1.0 + 1.0 )'}
    server.data = json.dumps([problem]).encode()
    remote = Remote(f'{server.url}/SVAMP.json')
    change(monkeypatch, 'svamp', originals=with_files('svamp', remote))
    convert, converted = official.convert, []

    def convert_and_count(*args):
        converted.append(args)
        convert(*args)

    monkeypatch.setattr(official, 'convert', convert_and_count)

    def slowly(handler):
        time.sleep(0.2)
        handler.answer()

    server.faults = [slowly]
    threads = [
        threading.Thread(target=official.fetch, args=('svamp', tmp_path, 'original'))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == len(converted) == 1
    assert read(tmp_path / 'original' / 'svamp' / 'svamp_train.json') == [
        {'input': 'b\nq?', 'label': '( 1.0 + 1.0 )'}
    ]


# --- SVAMP ----------------------------------------------------------------------------------------


def svamp_problem(record):
    body, question = record['input'].rsplit('\n', 1)
    return {
        'ID': '',
        'Body': body,
        'Question': question,
        'Equation': record['label'],
        'Answer': 1.0,
    }


def test_svamp_is_what_dss_wrote_to_the_byte(shared_data, tmp_path):
    real = shared_data / 'dss' / 'svamp'
    records = read(real / 'svamp_train.json') + read(real / 'svamp_test.json')
    problems = [None] * 1000
    for place, record in zip(np.random.RandomState(0).permutation(1000), records, strict=True):
        problems[place] = svamp_problem(record)
    # As the file of its authors has them: the first, the one without an operator, the last.
    assert problems[0]['Body'].startswith('Each pack of dvds costs 76 dollars.')
    assert problems[554]['Equation'] == '8.0'
    assert problems[999]['Question'] == 'How far did the frog jump?'
    put(tmp_path, SVAMP_json=json.dumps(problems, indent=4))
    folder = official.fetch('svamp', tmp_path, 'original')
    for file in ('svamp_train.json', 'svamp_test.json'):
        assert (folder / file).read_bytes() == (real / file).read_bytes()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{}', 'expected a JSON list'),
        ('[1]', 'expected a JSON list'),
        ('<html>', 'cannot be read as JSON'),
        ('[' * 100_000, 'cannot be read as JSON'),
        (b'\xff\xfe', 'cannot be read as JSON'),
        (
            '[{"Body": "b", "Question": 3, "Equation": ""}]',
            "problem 1: field 'Question': expected a",
        ),
        ('[{"Body": "b", "Question": "q?", "Equation": "1"}]', 'expected 2 questions .*, got 1'),
    ],
)
def test_svamp_that_is_not_svamp_is_refused(content, message, tmp_path, sizes):
    sizes('svamp', train=2, test=0)
    put(tmp_path, SVAMP_json=content)
    with pytest.raises(InputError, match=message):
        official.fetch('svamp', tmp_path, 'original')
    assert not list(tmp_path.rglob('svamp_train.json'))
    assert not list(tmp_path.rglob('*.tmp'))


# --- CommonsenseQA --------------------------------------------------------------------------------


def commonsense(record):
    choices = [
        {'label': label, 'text': text}
        for label, text in zip('ABCDE', record['choices'], strict=True)
    ]
    return {
        'answerKey': 'ABCDE'[record['choices'].index(record['answer'])],
        'id': record['id'],
        'question': {'question_concept': 'c', 'choices': choices, 'stem': record['question']},
    }


def explanation(record):
    texts = {
        'open-ended': record['abstractive_explanation'],
        'selected': record['extractive_explanation'],
    }
    return {'id': record['id'], 'explanation': texts}


def put_cqa(folder, train, test):
    """Puts the four files, CommonsenseQA's in an order of its own."""
    shuffled = random.Random(0).sample
    put(
        folder,
        train_rand_split_jsonl=jsonl(map(commonsense, shuffled(train, len(train)))),
        dev_rand_split_jsonl=jsonl(map(commonsense, shuffled(test, len(test)))),
        **{
            'cose_train_v1.11_processed_jsonl': jsonl(map(explanation, train)),
            'cose_dev_v1.11_processed_jsonl': jsonl(map(explanation, test)),
        },
    )


def test_cqa_is_what_dss_wrote_to_the_byte(shared_data, tmp_path, sizes):
    """The beginning of the files: annotations are checked at every call, which takes time."""
    sizes('cqa', train=1500, test=200)
    real = shared_data / 'dss' / 'cqa'
    train = (real / 'cqa_train.json').read_bytes().splitlines(keepends=True)[:1500]
    test = (real / 'cqa_test.json').read_bytes().splitlines(keepends=True)[:200]
    put_cqa(tmp_path, list(map(json.loads, train)), list(map(json.loads, test)))
    folder = official.fetch('cqa', tmp_path, 'original')
    assert (folder / 'cqa_train.json').read_bytes() == b''.join(train)
    assert (folder / 'cqa_test.json').read_bytes() == b''.join(test)


RECORD = {
    'id': 'x',
    'question': 'Where is a/b “here”?',
    'choices': ['v', 'w', 'x', 'y', 'z'],
    'answer': 'y',
    'abstractive_explanation': 'because',
    'extractive_explanation': 'a/b',
}


def test_cqa_has_the_order_of_cose_and_escapes_as_pandas_does(tmp_path, sizes):
    sizes('cqa', train=3, test=1)
    records = [{**RECORD, 'id': name} for name in 'cab']
    put_cqa(tmp_path, records, [RECORD])
    folder = official.fetch('cqa', tmp_path, 'original')
    assert read(folder / 'cqa_train.json') == records
    assert (folder / 'cqa_test.json').read_text() == (
        r'{"id":"x","question":"Where is a\/b \u201chere\u201d?","choices":["v","w","x","y","z"],'
        r'"answer":"y","abstractive_explanation":"because","extractive_explanation":"a\/b"}'
        '\n'
    )


@pytest.mark.parametrize(
    ('break_it', 'message'),
    [
        (lambda q, e: q.update(answerKey='F'), "line 1: field 'answerKey': expected one of A, B"),
        (lambda q, e: q.pop('answerKey'), "field 'answerKey': expected a text, got None"),
        (lambda q, e: q.update(question=[]), "field 'question': expected an object"),
        (lambda q, e: q['question'].update(choices={}), "field 'choices': expected a list"),
        (lambda q, e: q['question'].update(choices=[3]), "field 'label': expected a text"),
        (lambda q, e: e.update(id='other'), "'other' is no question of"),
        (lambda q, e: e.update(explanation='text'), "field 'explanation': expected an object"),
    ],
)
def test_malformed_questions_are_named(break_it, message, tmp_path, sizes):
    sizes('cqa', train=1, test=1)
    put_cqa(tmp_path, [RECORD], [])
    question, explained = commonsense(RECORD), explanation(RECORD)
    break_it(question, explained)
    put(
        tmp_path,
        dev_rand_split_jsonl=jsonl([question]),
        **{'cose_dev_v1.11_processed_jsonl': jsonl([explained])},
    )
    with pytest.raises(InputError, match=message):
        official.fetch('cqa', tmp_path, 'original')


# --- ANLI -----------------------------------------------------------------------------------------


def anli(split, label='n', **fields):
    entry = {
        'uid': f'{split}-1',
        'context': 'A cat.',
        'hypothesis': 'A dog.',
        'label': label,
        'model_label': 'e',
        'emturk': True,
    }
    return json.dumps({**entry, **fields}) + '\n'


def test_anli_is_the_first_round_with_dss_fields(tmp_path, sizes):
    sizes('anli1', train=3, valid=1, test=1)
    train = anli('a', 'e') + '\n' + anli('b', 'n', reason='no “reason”') + anli('c', 'c')
    members = {
        'anli_v0.1/AR1/train.jsonl': 'not read',
        'anli_v0.1/R1/train.jsonl': train,
        'anli_v0.1/R1/dev.jsonl': anli('dev'),
        'anli_v0.1/R1/test.jsonl': anli('test'),
        'anli_v0.1/R2/train.jsonl': 'not read',
        '__MACOSX/anli_v0.1/R1/._train.jsonl': 'not read',
    }
    put(tmp_path, **{'anli_v0.1_zip': archive(members)})
    folder = official.fetch('anli1', tmp_path, 'original')
    shared = {'premise': 'A cat.', 'hypothesis': 'A dog.'}
    assert [list(record.items()) for record in read(folder / 'anli1_train.json')] == [
        list({'uid': 'a-1', **shared, 'label': 0, 'reason': ''}.items()),
        list({'uid': 'b-1', **shared, 'label': 1, 'reason': 'no “reason”'}.items()),
        list({'uid': 'c-1', **shared, 'label': 2, 'reason': ''}.items()),
    ]
    assert [record['uid'] for record in read(folder / 'anli1_valid.json')] == ['dev-1']
    assert [record['uid'] for record in read(folder / 'anli1_test.json')] == ['test-1']


@pytest.mark.parametrize(
    ('test', 'message'),
    [
        (
            anli('t', 'x'),
            r"R1/test\.jsonl, line 1: field 'label': expected one of e, n, c, got 'x'",
        ),
        (anli('t') + '{', r'R1/test\.jsonl, line 2: not valid JSON'),
        (anli('t') + anli('u'), 'expected 1 questions .*, got 2'),
        (b'\xff', 'is no good zip archive'),
        (None, r'holds no R1/test\.jsonl'),
    ],
)
def test_malformed_anli_is_named(test, message, tmp_path, sizes):
    sizes('anli1', train=1, valid=1, test=1)
    members = {'R1/train.jsonl': anli('a'), 'R1/dev.jsonl': anli('b'), 'R1/test.jsonl': test}
    members = {name: text for name, text in members.items() if text is not None}
    put(tmp_path, **{'anli_v0.1_zip': archive(members)})
    with pytest.raises(InputError, match=message):
        official.fetch('anli1', tmp_path, 'original')
    assert not list(tmp_path.rglob('anli1_*.json'))


# --- e-SNLI ---------------------------------------------------------------------------------------

TRAIN_COLUMNS = ['pairID', 'gold_label', 'Sentence1', 'Sentence2', 'Explanation_1', 'WorkerId']
TEST_COLUMNS = [*TRAIN_COLUMNS[:5], 'Explanation_2', 'Explanation_3']


def table(columns, *rows, newline='\r\n'):
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval='', lineterminator=newline)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def pair(label='neutral', premise='p', hypothesis='h', **more):
    return {'gold_label': label, 'Sentence1': premise, 'Sentence2': hypothesis, **more}


def put_esnli(folder, train_1=None, train_2=None, test=None):
    put(
        folder,
        esnli_train_1_csv=train_1 or table(TRAIN_COLUMNS, pair()),
        esnli_train_2_csv=train_2 or table(TRAIN_COLUMNS, pair('entailment')),
        esnli_dev_csv=table(TEST_COLUMNS, pair('contradiction', Explanation_3='c')),
        esnli_test_csv=test or table(TEST_COLUMNS, pair()),
    )


def test_esnli_joins_its_parts_and_reads_quoted_cells(tmp_path, sizes):
    sizes('esnli', train=4, valid=1, test=1)
    first = table(
        TRAIN_COLUMNS,
        pair('neutral', 'He said "a, b".', 'Two\nlines', Explanation_1='a,b/c', WorkerId='w'),
        pair('entailment', 'Naïve ½', 'Windows\r\nlines'),
        pair('contradiction'),
    )
    put_esnli(tmp_path, first, table(TRAIN_COLUMNS, pair(premise='second'), newline='\n'))
    folder = official.fetch('esnli', tmp_path, 'original')
    rest = {'explanation_1': '', 'explanation_2': '', 'explanation_3': ''}
    assert read(folder / 'esnli_train.json') == [
        {'premise': 'He said "a, b".', 'hypothesis': 'Two\nlines', 'label': 1,
         'explanation_1': 'a,b/c', 'explanation_2': '', 'explanation_3': ''},
        {'premise': 'Naïve ½', 'hypothesis': 'Windows\nlines', 'label': 0, **rest},
        {'premise': 'p', 'hypothesis': 'h', 'label': 2, **rest},
        {'premise': 'second', 'hypothesis': 'h', 'label': 1, **rest},
    ]  # fmt: skip
    assert (folder / 'esnli_valid.json').read_text() == (
        '{"premise":"p","hypothesis":"h","label":2,"explanation_1":"","explanation_2":"",'
        '"explanation_3":"c"}\n'
    )


@pytest.mark.parametrize(
    ('test', 'message'),
    [
        (table(TEST_COLUMNS, pair('-')), r"line 2: field 'gold_label': expected one of entail"),
        (table(TEST_COLUMNS[:3], {}), "field 'gold_label': expected one of"),
        (
            'gold_label,Sentence1\nneutral,p\n',
            "line 2: field 'Sentence2': expected a text, got None",
        ),
        (
            'gold_label,Sentence1,Sentence2\nneutral,p\n',
            "field 'Sentence2': expected a text, got N",
        ),
        (f'gold_label\n"{"x" * 200_000}"\n', 'cannot be read as CSV'),
        (b'gold_label\n\xff\n', 'cannot be read as CSV'),
        (table(TEST_COLUMNS), 'expected 1 questions .*, got 0'),
        ('\n', 'expected 1 questions .*, got 0'),
    ],
)
def test_malformed_tables_are_named(test, message, tmp_path, sizes):
    sizes('esnli', train=2, valid=1, test=1)
    put_esnli(tmp_path, test=test)
    with pytest.raises(InputError, match=message):
        official.fetch('esnli', tmp_path, 'original')
    assert not list(tmp_path.rglob('esnli_*.json'))


def test_esnli_is_not_held_in_memory(tmp_path, sizes):
    rows = 2500
    sizes('esnli', train=rows + 1, valid=1, test=1)
    put_esnli(tmp_path, table(TRAIN_COLUMNS, *[pair(premise='p' * 100)] * rows))
    tracemalloc.start()
    folder = official.fetch('esnli', tmp_path, 'original')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = (folder / 'esnli_train.json').stat().st_size
    assert peak < 0.75 * size, (peak, size)


# --- The archive of DSS ---------------------------------------------------------------------------


def dss_members(name='anli1', folder='datasets/'):
    members = {}
    for split, number in (('train', 3), ('valid', 1), ('test', 2)):
        members[f'{folder}{name}/{name}_{split}.json'] = f'{{"of":"{split}"}}\n' * number
        members[f'{folder}{name}/llm/{split}_CoT_0.json'] = json.dumps([split] * number)
    members[f'{folder}{name}/llm/train_CoT_10.json'] = '["more"]'
    members[f'{folder}{name}/{name}_train.json'] += '\n'  # a blank line is no question
    return members


def dss_files():
    """What `dss_members` makes, by the names in the folder of the dataset."""
    return {path.removeprefix('anli1/'): text for path, text in dss_members(folder='').items()}


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob('*')
        if path.is_file()
    }


def test_the_archive_of_dss_is_downloaded_once_for_all_datasets(
    server, tmp_path, sizes, monkeypatch
):
    for name in ('anli1', 'esnli'):
        sizes(name, train=3, valid=1, test=2)
    server.data = archive(dss_members() | dss_members('esnli'))
    monkeypatch.setattr(official, 'ARCHIVE', Remote(f'{server.url}/datasets.zip'))
    for name in ('anli1', 'esnli', 'anli1'):
        folder = official.fetch(name, tmp_path, 'dss')
        assert folder == tmp_path / 'dss' / name
        assert files(folder) == {
            file.replace('anli1', name): text for file, text in dss_files().items()
        }
    assert len(server.asked) == 1
    assert (tmp_path / 'dss' / 'datasets.zip.sha256').is_file()


def test_what_is_there_is_not_fetched_again_and_remains_as_it_is(tmp_path):
    folder = tmp_path / 'dss' / 'svamp'
    folder.mkdir(parents=True)
    (folder / 'svamp_train.json').write_text('mine')
    (tmp_path / 'dss' / '.lock').mkdir()  # nothing is written or locked: the disk may be read-only
    assert official.fetch('svamp', tmp_path, 'dss') == folder
    assert (folder / 'svamp_train.json').read_text() == 'mine'


def test_no_path_in_the_archive_decides_where_a_file_lands(tmp_path, sizes):
    sizes('anli1', train=3, valid=1, test=2)
    hostile = {
        '../../anli1/anli1_evil.json': 'x',
        '/etc/anli1/anli1_train.json': 'x\n' * 3,  # longer than the good one: not it
        'datasets/anli1/llm/../../../evil_CoT_0.json': 'x',
        'datasets/anli1/llm/../../../../evil/anli1/llm/train_CoT_99.json': '[]',
        'datasets/anli1/llm/..\\..\\train_CoT_7.json': 'x',
        '__MACOSX/datasets/anli1/llm/._train_CoT_0.json': 'x',
        'datasets/gpt-neox/anli1/train.json': 'x',
        'x/anli1_train.json': 'x',
        'datasets/esnli/esnli_train.json': 'x',
        'datasets/anli1/': '',
    }
    put(tmp_path, 'dss', datasets_zip=archive(hostile | dss_members(folder='')))
    folder = official.fetch('anli1', tmp_path / 'in' / '..', 'dss')
    assert files(folder) == dss_files()
    assert not list(tmp_path.parent.rglob('*evil*'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda members: members.clear(), r'holds no anli1/anli1_'),
        (lambda members: members.pop('datasets/anli1/anli1_valid.json'), 'no anli1/anli1_valid'),
        (
            lambda members: members.update({'datasets/anli1/anli1_train.json': '{}\n{}\n'}),
            r'anli1_train\.json: expected 3 questions .*, got 2',
        ),
    ],
)
def test_an_archive_that_lacks_something_is_refused(change, message, tmp_path, sizes):
    sizes('anli1', train=3, valid=1, test=2)
    members = dss_members()
    change(members)
    put(tmp_path, 'dss', datasets_zip=archive(members))
    with pytest.raises(InputError, match=message):
        official.fetch('anli1', tmp_path, 'dss')
    assert not list(tmp_path.rglob('anli1_train.json'))


def damaged(data, offset, byte):
    """The same archive with one byte of the compressed training questions changed."""
    place = data.index(b'anli1_train.json') + len('anli1_train.json') + offset
    return data[:place] + byte + data[place + 1 :]


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'<html>rate limit</html>',
        archive(dss_members())[:-30],
        damaged(archive(dss_members()), 4, b'?'),  # other text: a wrong checksum
        damaged(archive(dss_members()), 0, b'\xff'),  # nothing that deflate could have written
    ],
)
def test_a_damaged_archive_is_named(content, tmp_path, sizes):
    sizes('anli1', train=3, valid=1, test=2)
    put(tmp_path, 'dss', datasets_zip=content)
    with pytest.raises(InputError, match=r'datasets\.zip: is no good zip archive'):
        official.fetch('anli1', tmp_path, 'dss')
    assert not list(tmp_path.rglob('anli1_train.json'))
    assert not list(tmp_path.rglob('*.tmp'))


def test_what_a_killed_process_left_is_cleared(tmp_path, sizes):
    sizes('anli1', train=3, valid=1, test=2)
    put(tmp_path, 'dss', datasets_zip=archive(dss_members()))
    left = tmp_path / 'dss' / 'anli1' / 'llm' / '.train_CoT_0.json.77.tmp'
    left.parent.mkdir(parents=True)
    left.write_text('half')
    assert files(official.fetch('anli1', tmp_path, 'dss')) == dss_files()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'dss').write_text('in the way')
    with pytest.raises(InputError, match=r'data\.cache: .*dss cannot be written'):
        official.fetch('svamp', tmp_path, 'dss')


def test_a_member_that_is_too_large_is_not_unpacked(tmp_path, sizes, monkeypatch):
    sizes('anli1', train=3, valid=1, test=2)
    put(tmp_path, 'dss', datasets_zip=archive(dss_members()))
    monkeypatch.setattr(official, 'MAX_BYTES', 40)
    with pytest.raises(InputError, match=r'train.* is larger than 40 bytes'):
        official.fetch('anli1', tmp_path, 'dss')
    assert not list(tmp_path.rglob('*_train.json'))


def test_a_file_with_another_digest_than_the_published_one_is_refused(tmp_path, monkeypatch):
    (published,) = REAL['svamp'].originals.files
    remote = Remote('http://127.0.0.1:9/SVAMP.json', published.sha256)
    change(monkeypatch, 'svamp', originals=with_files('svamp', remote))
    put(tmp_path, SVAMP_json='[]')
    with pytest.raises(InputError, match=rf'data\.source: .*expected SHA-256 {remote.sha256}, got'):
        official.fetch('svamp', tmp_path, 'original')
