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
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from qcrd_jax import sums
from qcrd_jax.data.sources import download as downloads
from qcrd_jax.data.sources import originals
from qcrd_jax.data.sources.remotes import Download, Remote
from qcrd_jax.errors import InputError
from qcrd_jax.files import locked, replacing

_LARGEST_DATASET = 4 << 30  # bytes of all files of a dataset that an archive unpacks to
_WRITTEN = ('test', 'valid', 'train')  # in this order: where the last is, everything is

ARCHIVE = Remote('https://github.com/google-research/distilling-step-by-step/raw/main/datasets.zip')


def fetch(name: str, download: Download, folder: pathlib.Path, release: str) -> pathlib.Path:
    """Returns the folder of a dataset in the layout of DSS, downloading it if it is not there.

    Downloads lie in `<folder>/<release>`, the dataset in `<folder>/<release>/<name>`. The training
    questions are written last: where they are, everything is, and nothing is asked for again. Then
    come the digests (`sums`), by which a file that was changed since is known.

    Args:
      name: of the dataset.
      download: what there is of it.
      folder: where downloads go.
      release: 'dss', with the teacher's answers, or 'original', without.

    Returns:
      A folder with `<name>_train.json`, `<name>_test.json`, for ANLI and e-SNLI
      `<name>_valid.json`, and for release 'dss' `llm/<split>_CoT_<i>.json`.

    Raises:
      InputError: if something cannot be downloaded or is not what it should be, or was changed.
    """
    if release not in download.releases:
        raise InputError(
            f'data.release: expected {" or ".join(download.releases)} of {name}, got {release!r}.'
        )
    target = folder / release / name
    train = target / f'{name}_train.json'
    if train.is_file():
        sums.check(target, ('*',))
        return target
    with _alone(folder / release):
        if not train.is_file():  # no other process has fetched it meanwhile
            for left in target.rglob('.*.tmp'):  # by a process that was killed
                left.unlink()
            if release == 'dss':
                (archive,) = _download([ARCHIVE], folder / release)
                unpack(archive, name, download.sizes, target)
            else:
                paths = _download(download.files, folder / release)
                convert(download.read(*paths), name, download.sizes, target)
            sums.write(target)
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
            downloads.download(remote.url, path, sha256=remote.sha256)
    except InputError as error:
        every = f' All that is needed: {"; ".join(missing)}.' if len(missing) > 1 else ''
        raise InputError(
            f'data.source: {error}{every} Or give the data yourself: --config.data.source=<folder '
            'in the layout of Distilling step-by-step, or a .jsonl file of questions>.'
        ) from error
    return paths


def unpack(
    archive: pathlib.Path, name: str, sizes: Mapping[str, int], target: pathlib.Path
) -> None:
    """Copies the files of dataset `name` out of the archive of DSS, and nothing else.

    Its folder is found by the end of its path, and its files are written under names that we know,
    so that no path in the archive decides where a file lands.

    Raises:
      InputError: if the archive is damaged or holds another number of questions than it should.
    """
    splits, train = '|'.join(_WRITTEN), f'{name}_train.json'
    with originals.open_zip(archive) as content:
        every = content.infolist()
        names = [member.filename for member in every]
        found = [path for path in names if f'/{path}'.endswith(f'/{name}/{train}')]
        root = min(found, key=len, default='').removesuffix(train)
        wanted = re.compile(
            rf'{re.escape(root)}({name}_({splits})\.json|llm/({splits})_CoT_[0-9]+\.json)'
        )
        members = {
            match[1]: member for member in every if (match := wanted.fullmatch(member.filename))
        }
        twice = [path for path in members if names.count(root + path) > 1]
        if twice:
            raise InputError(f'{archive}: holds {min(twice)} twice; delete it and try again.')
        questions = {split: f'{name}_{split}.json' for split in _WRITTEN if split in sizes}
        absent = questions.values() - members.keys()
        if absent:
            raise InputError(f'{archive}: holds no {name}/{min(absent)}; delete it and try again.')
        for member in members.values():
            originals.check_member(archive, member)
        total = sum(member.file_size for member in members.values())
        if total > _LARGEST_DATASET:
            raise InputError(
                f'{archive}: its files of {name} unpack to {total} bytes; expected at most '
                f'{_LARGEST_DATASET}. Delete it.'
            )
        for path in sorted(members.keys() - questions.values()):
            with content.open(members[path]) as lines:
                _write(target / path, lines)
        for split, path in questions.items():
            with content.open(members[path]) as lines:
                _write(target / path, lines, sizes[split])


def convert(
    records: originals.Records, name: str, sizes: Mapping[str, int], target: pathlib.Path
) -> None:
    """Writes the records of dataset `name` as DSS wrote them, to the byte.

    Raises:
      InputError: if a file is not what it should be or holds another number of questions.
    """
    for split in _WRITTEN:
        if split in sizes:
            lines = map(_line, records[split])
            _write(target / f'{name}_{split}.json', lines, sizes[split])


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
