"""What an error line says to do, done."""

import dataclasses
import pathlib
import re
import shutil


@dataclasses.dataclass(frozen=True)
class Remedy:
    """Something that an error line offers.

    Attributes:
      kind: restart | delete | line | elsewhere | again.
      path: what is deleted, or the file whose line is removed.
      line: number of that line, from 1.
    """

    kind: str
    path: pathlib.Path | None = None
    line: int = 0


def offered(error: str) -> list[Remedy]:
    """Returns what a line offers, what keeps the most first.

    Examples:
      >>> [each.kind for each in offered('error: no checkpoint; use another --workdir.')]
      ['elsewhere']
      >>> offered('error: /a/b is damaged; delete it.')
      [Remedy(kind='delete', path=PosixPath('/a/b'), line=0)]
    """
    remedies = []
    path = _path(error)
    number = re.search(r'line (\d+)', error)
    if path and number and re.search('remove the line', error):
        remedies.append(Remedy('line', path, int(number[1])))
    if re.search('(?i)same command|run (it )?again|wait for it|free space|make room', error):
        remedies.append(Remedy('again'))
    deleting = re.search(r'(?i)\b(delete|remove)\b(?! the line)', error)
    if deleting and (path := _path(error[deleting.start() :]) or _path(error)):
        remedies.append(Remedy('delete', path))
    if '--config.train.restart=True' in error:
        remedies.append(Remedy('restart'))
    if re.search('(another|other|new) (--)?(workdir|folder)', error):
        remedies.append(Remedy('elsewhere'))
    return remedies


def apply(remedy: Remedy, within: pathlib.Path) -> None:
    """Deletes what a remedy names, which must lie in a folder.

    Raises:
      ValueError: if it lies elsewhere.
    """
    if remedy.path is None:
        return
    if within.resolve() not in remedy.path.resolve().parents:
        raise ValueError(f'{remedy.path} is not in {within}')
    if remedy.kind == 'line':
        lines = remedy.path.read_bytes().splitlines(keepends=True)
        del lines[remedy.line - 1 : remedy.line]
        remedy.path.write_bytes(b''.join(lines))
    elif remedy.path.is_dir():
        shutil.rmtree(remedy.path)
    else:
        remedy.path.unlink(missing_ok=True)


def _path(text: str) -> pathlib.Path | None:
    """The first absolute path of a text, without the punctuation behind it."""
    found = re.search(r'(?:^|[\s(\'"=])(/[^\s,;:\'"()]+)', text)
    return pathlib.Path(found[1].rstrip('.')) if found else None
