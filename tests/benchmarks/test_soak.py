"""The soak's own pieces: what comes when, how files are damaged, and that a difference is seen."""

import collections
import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from tests.support import REPOSITORY

TRAIN = {'phase': 'train', 'step': 3, 'loss': 0.5, 'seconds_per_step': 2.0}
DISCRIMINATOR = {'phase': 'discriminator', 'step': 10, 'loss': 0.1, 'seconds_per_step': 1.0}
TEST = {'phase': 'test', 'step': 8, 'accuracy': 0.25}


@pytest.fixture(autouse=True)
def beside_the_package(monkeypatch):
    """`benchmarks` lies beside the package and is not installed."""
    monkeypatch.syspath_prepend(REPOSITORY)


@pytest.fixture
def faults():
    import benchmarks.soak_faults

    return benchmarks.soak_faults


@pytest.fixture
def compare():
    import benchmarks.soak_compare

    return benchmarks.soak_compare


@pytest.fixture
def children():
    import benchmarks.soak_children

    return benchmarks.soak_children


@pytest.fixture
def reference(tmp_path):
    """A workdir as a run leaves it, as far as the soak looks at it."""
    folder = tmp_path / 'reference'
    for name in ('hf', 'data/tokens/ab', 'report', 'checkpoints/24/record', 'checkpoints/20/state'):
        (folder / name).mkdir(parents=True)
    (folder / 'metrics.jsonl').write_text(lines(DISCRIMINATOR, TRAIN, TEST))
    (folder / 'summary.json').write_text(json.dumps({'seed': 0, 'training_hours': 3.0}))
    config = {'data': {'cache': ''}, 'train': {'steps': 24, 'restart': False}}
    (folder / 'config.json').write_text(json.dumps(config))
    (folder / 'predictions.jsonl').write_text('{"prediction": "( 1 + 2 )"}\n')
    (folder / 'hf' / 'model.safetensors').write_bytes(bytes(range(64)))
    (folder / 'data' / 'tokens' / 'ab' / 'label.ids').write_bytes(bytes(range(8)))
    (folder / 'report' / 'loss.png').write_bytes(b'loss')
    (folder / 'report' / 'step_time.png').write_bytes(b'time')
    record = {'arrays': {'params.w': {'sha256': '00'}}}
    (folder / 'checkpoints' / '24' / 'record' / 'metadata').write_text(json.dumps(record))
    (folder / 'checkpoints' / '20' / 'state' / 'array').write_bytes(bytes(100))
    return folder


@pytest.fixture
def workdir(reference, tmp_path):
    return pathlib.Path(shutil.copytree(reference, tmp_path / 'run'))


def lines(*records):
    return ''.join(json.dumps(record) + '\n' for record in records)


def logged(*records):
    return lines(*records).splitlines()


# --- What comes when ------------------------------------------------------------------------------


def test_an_episode_is_its_seed_and_number(faults):
    first = [faults.plan(3, number) for number in range(40)]
    assert first == [faults.plan(3, number) for number in range(40)]
    assert first != [faults.plan(4, number) for number in range(40)]
    for episode in first:
        assert episode.rng.random() == episode.rng.random()


def test_every_kind_comes_in_every_round(faults):
    size = 1
    while {faults.plan(0, number).kind for number in range(size)} != set(faults.KINDS):
        size += 1
        assert size < 100
    counts = [
        collections.Counter(faults.plan(1, number).kind for number in range(start, start + 45))
        for start in (0, 45)
    ]
    assert set(counts[0]) == set(faults.KINDS)


def test_an_episode_can_be_tried(faults):
    for number in range(300):
        episode = faults.plan(7, number)
        assert episode.stage in faults.STAGES
        assert (episode.damages > 0) == (episode.kind in faults.DAMAGES)
        if episode.kind in faults.CHECKPOINTS:
            assert episode.stage in ('pretraining', 'training', 'finished')
        if episode.kind in faults.TWO or episode.kind.startswith('SIG'):
            assert episode.moments
        assert list(episode.moments) == sorted(
            episode.moments, key=lambda each: faults.MOMENTS.index(each[0])
        )


# --- Damages --------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['flip', 'zeros', 'truncate', 'empty', 'append', 'delete', 'swap'])
def test_a_damage_changes_what_it_names_and_nothing_else(faults, workdir, reference, kind):
    rng = np.random.default_rng(5)
    damages = faults.damage_files(workdir, kind, 1, rng)
    named = {str(damage.path) for damage in damages}
    changed = {
        name
        for path in reference.rglob('*')
        if path.is_file()
        and (
            not (workdir / (name := str(path.relative_to(reference)))).exists()
            or (workdir / name).read_bytes() != path.read_bytes()
        )
    }
    assert changed <= named
    assert changed or kind in ('zeros', 'truncate')  # where there were zeros, or at the end
    for damage in damages:
        assert damage.before == (reference / damage.path).read_bytes()
        assert damage.healed(reference)
        assert damage.healed(workdir) == (str(damage.path) not in changed)


def test_a_flip_is_one_bit(faults, workdir):
    path = workdir / 'hf' / 'model.safetensors'
    before = int.from_bytes(path.read_bytes())
    (damage,) = faults.damage_file(workdir, path, 'flip', np.random.default_rng(0))
    assert (before ^ int.from_bytes(path.read_bytes())).bit_count() == 1
    assert 'hf/model.safetensors' in damage.what


@pytest.mark.parametrize(
    ('path', 'line', 'named'),
    [
        ('checkpoints/12/state/d/a', 'E1 /w/checkpoints: checkpoint 12 is damaged', True),
        ('checkpoints/12/state/d/a', 'E1 /w/checkpoints: checkpoint 8 is damaged', False),
        ('pretraining/10/record/metadata', '/w/pretraining: checkpoint 10 is damaged', True),
        ('data/tokens/ab/label.ids', 'W1 /w/data/tokens/ab is damaged', True),
        ('data/tokens/ab/label.ids', 'W1 /w/data/tokens/cd is damaged', False),
        ('metrics.jsonl', 'E1 /w/metrics.jsonl is not what was written', True),
        ('metrics.jsonl', 'W1 something else', False),
    ],
)
def test_what_names_a_damaged_file(faults, path, line, named):
    damage = faults.Damage(pathlib.PurePath(path), '', b'')
    assert damage.named([line]) == named


def test_a_checkpoint_under_another_number(faults, workdir):
    rng = np.random.default_rng(0)
    (workdir / 'checkpoints' / '20' / 'state' / 'array').write_bytes(b'1' * 100)
    damages = faults.damage_checkpoints(workdir, 'checkpoints all damaged', rng, workdir)
    assert {damage.path.parts[1] for damage in damages} == {'20', '24'}
    assert not any(damage.healed(workdir) for damage in damages)
    faults.damage_checkpoints(workdir, 'checkpoint copied', rng, workdir)
    assert len(faults.steps_of(workdir)) == 3
    assert faults.steps_of(workdir)[:2] == [20, 24]
    faults.damage_checkpoints(workdir, 'checkpoint renamed', rng, workdir)
    assert len(faults.steps_of(workdir)) == 3
    faults.damage_checkpoints(workdir, 'checkpoints deleted', rng, workdir)
    assert faults.steps_of(workdir) == []


# --- What is a difference -------------------------------------------------------------------------


def test_times_and_places_are_no_difference(compare, workdir, reference):
    log = lines(DISCRIMINATOR | {'seconds_per_step': 9}, TRAIN | {'seconds_per_step': 9}, TEST)
    (workdir / 'metrics.jsonl').write_text(log)
    (workdir / 'summary.json').write_text(json.dumps({'seed': 0, 'training_hours': 4.0}))
    (workdir / 'report' / 'step_time.png').write_bytes(b'other')
    config = {'data': {'cache': '/elsewhere'}, 'train': {'steps': 24, 'restart': True}}
    (workdir / 'config.json').write_text(json.dumps(config))
    assert compare.differences(workdir, reference) == []


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('hf/model.safetensors', bytes([1, *range(1, 64)])),
        ('hf/model.safetensors', None),
        ('predictions.jsonl', b'{"prediction": "( 1 + 3 )"}\n'),
        ('data/tokens/ab/label.ids', bytes(8)),
        ('report/loss.png', b'other'),
        ('summary.json', b'{"seed": 1}'),
        ('summary.json', b'{"seed": '),
        ('config.json', b'{"data": {"cache": ""}, "train": {"steps": 25}}'),
        ('config.json', None),
        ('metrics.jsonl', lines(DISCRIMINATOR, TRAIN | {'loss': 0.5000000001}, TEST).encode()),
        ('metrics.jsonl', lines(DISCRIMINATOR, TRAIN, TRAIN, TEST).encode()),
        ('metrics.jsonl', lines(DISCRIMINATOR, TRAIN).encode()),
        ('metrics.jsonl', lines(TRAIN, DISCRIMINATOR, TEST).encode()),
        ('metrics.jsonl', lines(DISCRIMINATOR, TRAIN, TEST).encode() + b'{"phase": "te'),
        ('metrics.jsonl', None),
        ('checkpoints/24/record/metadata', b'{"arrays": {"params.w": {"sha256": "01"}}}'),
        ('checkpoints/24/record/metadata', None),
        ('.metrics.jsonl.17.tmp', b''),
        ('checkpoints/28.orbax-checkpoint-tmp-1/a', b''),
        ('pretraining', b''),
        ('SHA256SUMS', b'0' * 64 + b'  summary.json\n'),
        ('hf/SHA256SUMS', b'0' * 64 + b'  gone\n'),
    ],
)
def test_a_planted_difference_is_found(compare, workdir, reference, name, content):
    assert compare.differences(workdir, reference) == []
    path = workdir / name
    if content is None:
        path.unlink()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (found,) = compare.differences(workdir, reference)
    assert name.split('/')[0].removesuffix('.orbax-checkpoint-tmp-1') in found


def test_right_sums_are_no_difference(compare, workdir, reference):
    digest = compare.digest_of(workdir / 'summary.json')
    (workdir / 'SHA256SUMS').write_text(f'{digest}  summary.json\n')
    assert compare.differences(workdir, reference) == []


def test_lines_of_a_log_that_are_lost(compare):
    before = [*logged(DISCRIMINATOR, TRAIN, TRAIN | {'step': 6}, TEST), '{"phase": "tr']
    assert compare.lost_lines(before, before) == []
    kept = logged(DISCRIMINATOR, TRAIN)
    assert compare.lost_lines(before, kept, resumed=4) == []  # it logs the others again
    assert compare.lost_lines(before, kept, resumed=6) == ['train 6']
    assert compare.lost_lines(before, kept) == ['train 6', 'test 8']
    assert compare.lost_lines(before, [], resumed=0) == ['discriminator 10']
    assert compare.lost_lines(logged(DISCRIMINATOR), [], pretraining=0) == []
    assert compare.lost_lines(logged(DISCRIMINATOR), [], pretraining=10) == ['discriminator 10']


def test_the_page_of_promises_names_tests_that_exist():
    path, missing = None, []
    page = (REPOSITORY / 'docs' / 'reliability.md').read_text()
    for file, name in re.findall(r'`(tests/[\w/]+\.py)?(?:::(\w+))?`', page):
        path = file or path
        if (file or name) and f'def {name}(' not in (REPOSITORY / str(path)).read_text():
            missing.append(f'{path}::{name}')
    assert missing == []
    assert path is not None


# --- How a process ended --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('status', 'err', 'words'),
    [
        (0, ['W1 a warning'], []),
        (1, ['error: --workdir: mend it.'], []),
        (143, ['interrupted by SIGTERM'], []),
        (0, ['error: but well'], ['status 0 with an error line']),
        (1, [], ['status 1 with 0 error lines']),
        (1, ['error: a', 'error: b'], ['status 1 with 2 error lines']),
        (1, ['Traceback (most recent call last):', 'KeyError: 1'], ['traceback', 'status 1']),
        (-1, [], ['did not end', 'status -1']),
    ],
)
def test_how_a_process_should_not_end(children, status, err, words):
    found = children.Ended(status, '', err, 1.0).faults()
    assert len(found) == len(words)
    for word, fault in zip(words, found, strict=True):
        assert word in fault


def test_where_a_process_resumed(children):
    out = 'resuming the pretraining of the discriminator from step 10\nresuming from step 4\n'
    ended = children.Ended(0, out, [], 1.0)
    assert (ended.resumed, ended.resumed_pretraining) == (4, 10)
    ended = children.Ended(0, out.splitlines()[0], [], 1.0)
    assert (ended.resumed, ended.resumed_pretraining) == (None, 10)


# --- What an error line offers --------------------------------------------------------------------


@pytest.mark.parametrize(
    ('line', 'kinds'),
    [
        ('error: /w holds a summary; pass --config.train.restart=True, or use another --workdir.',
         ['restart', 'elsewhere']),
        ('error: /w: no room; free space, and run the same command again.', ['again']),
        ('error: data.cache: /w/data/ab is damaged. Delete the folder.', ['delete']),
        ('error: /w/a.jsonl, line 3: not valid JSON. Mend or remove the line.', ['line']),
        ('error: something went wrong', []),
    ],
)  # fmt: skip
def test_what_an_error_line_offers(line, kinds):
    from benchmarks import soak_remedies

    assert [remedy.kind for remedy in soak_remedies.offered(line)] == kinds


def test_a_remedy_deletes_what_the_line_names_and_nothing_outside(tmp_path):
    from benchmarks import soak_remedies

    inside, outside = tmp_path / 'in', tmp_path / 'out'
    for folder in (inside / 'data', outside):
        folder.mkdir(parents=True)
    log = inside / 'log.jsonl'
    log.write_text('a\nb\nc\n')
    (remedy,) = soak_remedies.offered(f'error: {inside}/data is damaged: delete it.')
    soak_remedies.apply(remedy, inside)
    assert not (inside / 'data').exists()
    (remedy,) = soak_remedies.offered(f'error: {log}, line 2: bad; mend or remove the line.')
    soak_remedies.apply(remedy, inside)
    assert log.read_text() == 'a\nc\n'
    (remedy,) = soak_remedies.offered(f'error: {outside} is damaged: delete it.')
    with pytest.raises(ValueError, match='is not in'):
        soak_remedies.apply(remedy, inside)
    assert outside.exists()


def test_the_table_adds_up():
    from benchmarks import soak

    counts = {
        'flip': collections.Counter(tried=3, survived=1, loudly=2),
        'SIGKILL': collections.Counter(tried=1, failed=1),
    }
    rows = [line.split(' | ') for line in soak.table(counts).splitlines()]
    assert rows[-1] == ['| all', '4', '1', '2', '1', '0 |']
    assert [row[0] for row in rows[2:]] == ['| SIGKILL', '| flip', '| all']
