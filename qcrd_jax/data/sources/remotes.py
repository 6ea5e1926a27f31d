"""What can be downloaded of a dataset, as its entry in the table says."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

Release = Literal['dss', 'original']


@dataclasses.dataclass(frozen=True)
class Remote:
    """A file to download; `sha256` is None where nobody published it."""

    url: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        """Its name, without the folders that it is in."""
        return self.url.rsplit('/', 1)[-1]


@dataclasses.dataclass(frozen=True)
class Download:
    """What can be downloaded of a dataset.

    Attributes:
      sizes: questions by file, 'train', perhaps 'valid', 'test' (Table A1).
      archived: whether the archive of DSS has the dataset.
      files: of its authors, in the order in which `read` takes them; () where there are none.
      read: returns the records of the files by split.
    """

    sizes: Mapping[str, int]
    archived: bool = False
    files: tuple[Remote, ...] = ()
    read: Callable[..., Any] = lambda: {}

    @property
    def releases(self) -> tuple[Release, ...]:
        """Which there are."""
        return (('dss',) if self.archived else ()) + (('original',) if self.files else ())
