"""The datasets as their authors, or the authors of DSS, released them.

Two releases give the same questions, to the byte: 'dss' is the archive of Distilling step-by-step,
with the answers of PaLM-540B; 'original' are the files of each dataset's authors, without answers.

| dataset | original files | SHA-256 |
|---|---|---|
| svamp | SVAMP.json | (a) |
| cqa | CommonsenseQA train_rand_split.jsonl, dev_rand_split.jsonl | (b) |
| | CoS-E v1.11 cose_train_v1.11_processed.jsonl, cose_dev_v1.11_processed.jsonl | (b) |
| anli1 | anli_v0.1.zip, the version that DSS read | (b) |
| esnli | esnli_train_1.csv, esnli_train_2.csv, esnli_dev.csv, esnli_test.csv | (b) |
| all four, release 'dss' | datasets.zip | (c) |

(a) not published by its authors, but pinned by many projects, which agree;
(b) published with the loading scripts of Hugging Face datasets and of TFDS, which agree;
(c) published by nobody: recorded at the first use, and expected from there on.
"""

import contextlib
import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from qcrd_jax.data.sources import originals
from qcrd_jax.data.sources.download import MAX_BYTES, download
from qcrd_jax.errors import InputError
from qcrd_jax.files import locked, replacing

RELEASES = ('dss', 'original')

# Questions by file (Table A1; SVAMP and CommonsenseQA are held out for validation from 'train').
SIZES = {
    'svamp': {'train': 800, 'test': 200},
    'cqa': {'train': 9741, 'test': 1221},
    'anli1': {'train': 16946, 'valid': 1000, 'test': 1000},
    'esnli': {'train': 549367, 'valid': 9842, 'test': 9824},
}

_WRITTEN = ('test', 'valid', 'train')  # in this order: where the last is, everything is


@dataclasses.dataclass(frozen=True)
class Remote:
    """A file to download; `sha256` is None where nobody published it."""

    url: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.url.rsplit('/', 1)[-1]


ARCHIVE = Remote('https://github.com/google-research/distilling-step-by-step/raw/main/datasets.zip')

_GITHUB = 'https://raw.githubusercontent.com'
_COSE = f'{_GITHUB}/salesforce/cos-e/master/data/v1.11'
_COMMONSENSE = 'https://s3.amazonaws.com/commensenseqa'
_ESNLI = f'{_GITHUB}/OanaMariaCamburu/e-SNLI/master/dataset'

ORIGINALS = {  # in the order in which the function of `originals` takes them
    'svamp': (
        Remote(
            f'{_GITHUB}/arkilpatel/SVAMP/main/SVAMP.json',
            '5be77703a6d891ae476d7c082787ad361392aa02453b132516cdd5f4e7934e3e',
        ),
    ),
    'cqa': (
        Remote(
            f'{_COMMONSENSE}/train_rand_split.jsonl',
            '58ffa3c8472410e24b8c43f423d89c8a003d8284698a6ed7874355dedd09a2fb',
        ),
        Remote(
            f'{_COMMONSENSE}/dev_rand_split.jsonl',
            '3210497fdaae614ac085d9eb873dd7f4d49b6f965a93adadc803e1229fd8a02a',
        ),
        Remote(
            f'{_COSE}/train/cose_train_v1.11_processed.jsonl',
            '4c0ccfd34243cf7af62b441643437769663edcb980b991487f766b97a547e9bd',
        ),
        Remote(
            f'{_COSE}/dev/cose_dev_v1.11_processed.jsonl',
            'a8367c94901ba249e48bcec76eaff9e7b91cec0f0e4d94879975d7d1b952bc41',
        ),
    ),
    'anli1': (
        Remote(
            'https://dl.fbaipublicfiles.com/anli/anli_v0.1.zip',
            '16ac929a7e90ecf9093deaec89cc81fe86a379265a5320a150028efe50c5cde8',
        ),
    ),
    'esnli': (
        Remote(
            f'{_ESNLI}/esnli_train_1.csv',
            '7311c7bc16ad9f6a9adcd116a62ef991e1803dc0d71e253ce66b975c2aba8ee5',
        ),
        Remote(
            f'{_ESNLI}/esnli_train_2.csv',
            'c8827fa2ba1ef5891f077d6fafbfc2fdb6cab1271968b74257e08d3b2b3cbacc',
        ),
        Remote(
            f'{_ESNLI}/esnli_dev.csv',
            'd7a656d196eea18fd827d6f5486b00f5d4cf469dbf13a252cc211495a186bcb4',
        ),
        Remote(
            f'{_ESNLI}/esnli_test.csv',
            '9269aa8075dbfed0fa8a5012eb2ac9c18a92be139671f05df897f69092592927',
        ),
    ),
}

_READERS: dict[str, Callable[..., originals.Records]] = {
    'svamp': originals.svamp,
    'cqa': originals.cqa,
    'anli1': originals.anli1,
    'esnli': originals.esnli,
}


def fetch(name: str, folder: pathlib.Path, release: str) -> pathlib.Path:
    """Returns the folder of a dataset in the layout of DSS, downloading it if it is not there.

    Downloads lie in `<folder>/<release>`, the dataset in `<folder>/<release>/<name>`. The training
    questions are written last: where they are, everything is, and nothing is asked for again.

    Args:
      name: 'svamp', 'cqa', 'anli1' or 'esnli'.
      folder: where downloads go.
      release: 'dss', with the teacher's answers, or 'original', without.

    Returns:
      A folder with `<name>_train.json`, `<name>_test.json`, for ANLI and e-SNLI
      `<name>_valid.json`, and for release 'dss' `llm/<split>_CoT_<i>.json`.

    Raises:
      InputError: if something cannot be downloaded or is not what it should be.
    """
    if name not in SIZES:
        raise InputError(f'data.name: expected one of {", ".join(SIZES)}, got {name!r}.')
    if release not in RELEASES:
        raise InputError(f'data.release: expected one of {", ".join(RELEASES)}, got {release!r}.')
    target = folder / release / name
    train = target / f'{name}_train.json'
    if train.is_file():
        return target
    with _alone(folder / release):
        if not train.is_file():  # no other process has fetched it meanwhile
            for left in target.rglob('.*.tmp'):  # by a process that was killed
                left.unlink()
            if release == 'dss':
                (archive,) = _download([ARCHIVE], folder / release)
                unpack(archive, name, target)
            else:
                paths = _download(ORIGINALS[name], folder / release)
                convert(paths, name, target)
    return target


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
    """Waits until no other process fetches into the folder, and lets none while the block runs."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, wait=True))
        except OSError as error:
            raise InputError(
                f'data.cache: {folder} cannot be written ({error.strerror}).'
            ) from error
        yield


def _download(remotes: Sequence[Remote], folder: pathlib.Path) -> list[pathlib.Path]:
    paths = [folder / remote.name for remote in remotes]
    missing = [
        f'{remote.url} at {path}'
        for remote, path in zip(remotes, paths, strict=True)
        if not path.is_file()
    ]
    try:
        for remote, path in zip(remotes, paths, strict=True):
            download(remote.url, path, sha256=remote.sha256)
    except InputError as error:
        every = f' All that is needed: {"; ".join(missing)}.' if len(missing) > 1 else ''
        raise InputError(
            f'data.source: {error}{every} Or give the data yourself: --config.data.source=<folder '
            'in the layout of Distilling step-by-step, or a .jsonl file of questions>.'
        ) from error
    return paths


def unpack(archive: pathlib.Path, name: str, target: pathlib.Path) -> None:
    """Copies the files of dataset `name` out of the archive of DSS, and nothing else.

    Its folder is found by the end of its path, and its files are written under names that we know,
    so that no path in the archive decides where a file lands.

    Raises:
      InputError: if the archive is damaged or holds another number of questions than it should.
    """
    splits, train = '|'.join(_WRITTEN), f'{name}_train.json'
    with originals.open_zip(archive) as content:
        found = [path for path in content.namelist() if f'/{path}'.endswith(f'/{name}/{train}')]
        root = min(found, key=len, default='').removesuffix(train)
        wanted = re.compile(
            rf'{re.escape(root)}({name}_({splits})\.json|llm/({splits})_CoT_[0-9]+\.json)'
        )
        members = {
            match[1]: member
            for member in content.infolist()
            if (match := wanted.fullmatch(member.filename))
        }
        questions = {split: f'{name}_{split}.json' for split in _WRITTEN if split in SIZES[name]}
        absent = questions.values() - members.keys()
        if absent:
            raise InputError(f'{archive}: holds no {name}/{min(absent)}; delete it and try again.')
        for path, member in members.items():
            if member.file_size > MAX_BYTES:
                raise InputError(f'{archive}: {path} is larger than {MAX_BYTES} bytes.')
        for path in sorted(members.keys() - questions.values()):
            with content.open(members[path]) as lines:
                _write(target / path, lines)
        for split, path in questions.items():
            with content.open(members[path]) as lines:
                _write(target / path, lines, SIZES[name][split])


def convert(paths: Sequence[pathlib.Path], name: str, target: pathlib.Path) -> None:
    """Writes dataset `name` from its original files, as DSS wrote it, to the byte.

    Raises:
      InputError: if a file is not what it should be or holds another number of questions.
    """
    records = _READERS[name](*paths)
    for split in _WRITTEN:
        if split in SIZES[name]:
            lines = map(_line, records[split])
            _write(target / f'{name}_{split}.json', lines, SIZES[name][split])


def _line(record: originals.Record) -> bytes:
    """Returns a record as pandas writes it, through which `to_json` goes: it escapes every /."""
    return json.dumps(record, separators=(',', ':')).replace('/', '\\/').encode() + b'\n'


def _write(path: pathlib.Path, lines: Iterable[bytes], questions: int | None = None) -> None:
    """Writes a file whole or not at all; of questions there must be as many as expected."""
    try:
        with replacing(path) as file:
            number = 0
            for line in lines:
                file.write(line)
                number += not line.isspace()
            if questions not in (None, number):
                raise InputError(
                    f'{path}: expected {questions} questions (Table A1), got {number}. Delete what '
                    f'was downloaded to {path.parent.parent} and try again.'
                )
    except OSError as error:
        raise InputError(f'{path}: cannot be written ({error.strerror}).') from error
