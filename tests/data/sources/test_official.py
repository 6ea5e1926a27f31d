"""The releases of the datasets: where they come from, and what is done with what has come."""

import importlib.util
import json
import pathlib
import stat
import threading
import time
import zipfile

import pytest

from qcrd_jax import sums
from qcrd_jax.data.sources import official, originals
from qcrd_jax.data.sources.official import Remote
from qcrd_jax.errors import InputError
from tests.data.sources.releases import REAL, archive, change, fetch, put, read

pytestmark = pytest.mark.usefixtures('offline')


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
        for remote in REAL[name].files:
            assert published[remote.url] == remote.sha256, remote.url


def test_unknown_releases_are_refused(tmp_path):
    with pytest.raises(InputError, match=r'data\.release: expected dss or original of cqa'):
        fetch('cqa', tmp_path, 'x')


@pytest.mark.parametrize('release', ['dss', 'original'])
@pytest.mark.parametrize('name', list(REAL))
def test_offline_says_what_to_fetch_and_where_to_put_it(name, release, tmp_path):
    with pytest.raises(InputError, match=r'--config\.data\.source=<folder') as raised:
        fetch(name, tmp_path, release)
    files = ['datasets.zip'] if release == 'dss' else [file.name for file in REAL[name].files]
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
    change(monkeypatch, 'svamp', files=(remote,))
    convert, converted = official.convert, []

    def convert_and_count(*args):
        converted.append(args)
        convert(*args)

    monkeypatch.setattr(official, 'convert', convert_and_count)

    def slowly(handler):
        time.sleep(0.2)
        handler.answer()

    server.faults = [slowly]
    threads = [threading.Thread(target=fetch, args=('svamp', tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == len(converted) == 1
    assert read(tmp_path / 'original' / 'svamp' / 'svamp_train.json') == [
        {'input': 'b\nq?', 'label': '( 1.0 + 1.0 )'}
    ]


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
        if path.is_file() and path.name != sums.NAME
    }


def test_the_archive_of_dss_is_downloaded_once_for_all_datasets(
    server, tmp_path, sizes, monkeypatch
):
    for name in ('anli1', 'esnli'):
        sizes(name, train=3, valid=1, test=2)
    server.data = archive(dss_members() | dss_members('esnli'))
    monkeypatch.setattr(official, 'ARCHIVE', Remote(f'{server.url}/datasets.zip'))
    for name in ('anli1', 'esnli', 'anli1'):
        folder = fetch(name, tmp_path, 'dss')
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
    assert fetch('svamp', tmp_path, 'dss') == folder
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
    folder = fetch('anli1', tmp_path / 'in' / '..', 'dss')
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
        fetch('anli1', tmp_path, 'dss')
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
        fetch('anli1', tmp_path, 'dss')
    assert not list(tmp_path.rglob('anli1_train.json'))
    assert not list(tmp_path.rglob('*.tmp'))


def test_what_a_killed_process_left_is_cleared(tmp_path, sizes):
    sizes('anli1', train=3, valid=1, test=2)
    put(tmp_path, 'dss', datasets_zip=archive(dss_members()))
    left = tmp_path / 'dss' / 'anli1' / 'llm' / '.train_CoT_0.json.77.tmp'
    left.parent.mkdir(parents=True)
    left.write_text('half')
    assert files(fetch('anli1', tmp_path, 'dss')) == dss_files()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'dss').write_text('in the way')
    with pytest.raises(InputError, match=r'data\.cache: .*dss cannot be written'):
        fetch('svamp', tmp_path, 'dss')


def test_a_member_that_is_too_large_is_not_unpacked(tmp_path, sizes, monkeypatch):
    sizes('anli1', train=3, valid=1, test=2)
    put(tmp_path, 'dss', datasets_zip=archive(dss_members()))
    monkeypatch.setattr(originals, '_LARGEST_MEMBER', 30)
    with pytest.raises(InputError, match=r'train.* unpacks from .* bytes to .* at most 30'):
        fetch('anli1', tmp_path, 'dss')
    assert not list(tmp_path.rglob('*_train.json'))


def as_link(member, text):
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return '/etc/passwd'


def with_bzip2(member, text):
    member.compress_type = zipfile.ZIP_BZIP2
    return text


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda member, text: text + ' ' * (2 << 20), 'train_CoT_10.* unpacks from .* to 2097160'),
        (as_link, 'train_CoT_10.* is no plain file'),
        (with_bzip2, 'train_CoT_10.* is compressed in a way that is not read'),
    ],
)
def test_a_bomb_or_a_link_in_an_archive_is_not_unpacked(change, message, tmp_path, sizes):
    sizes('anli1', train=3, valid=1, test=2)
    path = tmp_path / 'dss' / 'datasets.zip'
    path.parent.mkdir()
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as content:
        for name, text in dss_members().items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            text = change(member, text) if name.endswith('train_CoT_10.json') else text
            content.writestr(member, text)
    with pytest.raises(InputError, match=message):
        fetch('anli1', tmp_path, 'dss')
    assert not list(tmp_path.rglob('*_train.json'))
    assert not list(tmp_path.rglob('*.tmp'))


def test_a_file_that_an_archive_holds_twice_is_refused(tmp_path, sizes):
    sizes('anli1', train=3, valid=1, test=2)
    path = tmp_path / 'dss' / 'datasets.zip'
    path.parent.mkdir()
    with zipfile.ZipFile(path, 'w') as content, pytest.warns(UserWarning, match='Duplicate'):
        for name, text in [*dss_members().items(), *dss_members().items()]:
            content.writestr(name, text)
    with pytest.raises(InputError, match=r'datasets\.zip: holds anli1_test\.json twice'):
        fetch('anli1', tmp_path, 'dss')


@pytest.mark.parametrize('large', [False, True])
def test_an_archive_of_too_many_files_is_not_listed(large, tmp_path, sizes, monkeypatch):
    sizes('anli1', train=3, valid=1, test=2)
    data = archive(dss_members())
    if large:  # the record that overrules the others in archives of more than 4 GiB
        end = data.rindex(b'PK\5\6')
        data = data[:end] + b'PK\6\7'.ljust(20, b'\0') + data[end:]
    else:
        monkeypatch.setattr(originals, '_LARGEST_DIRECTORY', 100)
    put(tmp_path, 'dss', datasets_zip=data)
    with pytest.raises(InputError, match=r'datasets\.zip: expected a list of files of at most'):
        fetch('anli1', tmp_path, 'dss')


def test_a_file_with_another_digest_than_the_published_one_is_refused(tmp_path, monkeypatch):
    (published,) = REAL['svamp'].files
    remote = Remote('http://127.0.0.1:9/SVAMP.json', published.sha256)
    change(monkeypatch, 'svamp', files=(remote,))
    put(tmp_path, SVAMP_json='[]')
    with pytest.raises(InputError, match=rf'data\.source: .*expected SHA-256 {remote.sha256}, got'):
        fetch('svamp', tmp_path)


def test_a_file_of_an_earlier_download_that_was_changed_is_named(tmp_path, sizes):
    sizes('anli1', train=3, valid=1, test=2)
    put(tmp_path, 'dss', datasets_zip=archive(dss_members()))
    target = fetch('anli1', tmp_path, 'dss')
    assert fetch('anli1', tmp_path, 'dss') == target
    path = target / 'anli1_test.json'
    path.write_bytes(path.read_bytes() + b' ')
    with pytest.raises(InputError, match=r"anli1: 'anli1_test\.json' was changed, by the digests"):
        fetch('anli1', tmp_path, 'dss')
    (target / sums.NAME).unlink()  # as the line says
    assert fetch('anli1', tmp_path, 'dss') == target
