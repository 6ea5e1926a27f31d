"""A small disk of its own, where Linux lets anyone mount one: a tmpfs in a namespace."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence

_INSIDE = 'QCRD_SOAK_NAMESPACE'  # environment variable of a soak that runs in one


def enter_namespace(arguments: Sequence[str]) -> None:
    """Starts the soak again in a namespace where it may mount; returns where there is none."""
    if os.environ.get(_INSIDE) or not shutil.which('unshare'):
        return
    if subprocess.run(['unshare', '-rm', 'true'], capture_output=True).returncode:
        return
    os.environ[_INSIDE] = '1'
    os.execvp('unshare', ['unshare', '-rm', sys.executable, '-m', 'benchmarks.soak', *arguments])


class Disk:
    """A tmpfs at a folder; where there can be none, `mounted` is False and it is a folder."""

    def __init__(self, folder: pathlib.Path, megabytes: int):
        """Mounts it, empty."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.mounted = bool(os.environ.get(_INSIDE)) and self._mount(
            '-t', 'tmpfs', '-o', f'size={megabytes}m', 'tmpfs'
        )

    def resize(self, megabytes: int) -> None:
        """Makes it larger."""
        if self.mounted:
            self._mount('-o', f'remount,size={megabytes}m')

    def set_writable(self, writable: bool) -> None:
        """Lets others write, or not."""
        if self.mounted:
            self._mount('-o', 'remount,rw' if writable else 'remount,ro')

    def fill(self, leave: int) -> None:
        """Fills it up to some bytes, while others write to it too."""
        with open(self._ballast, 'wb') as file:
            while True:
                size = shutil.disk_usage(self.folder).free - leave
                if size <= 0:
                    return
                with contextlib.suppress(OSError):  # somebody was faster
                    os.posix_fallocate(file.fileno(), 0, size)
                    return

    def free(self) -> None:
        """Takes away what `fill` wrote."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmounts it."""
        if self.mounted:
            subprocess.run(['umount', '--lazy', str(self.folder)], check=True)

    @property
    def _ballast(self) -> pathlib.Path:
        return self.folder / 'ballast'

    def _mount(self, *arguments: str) -> bool:
        result = subprocess.run(['mount', *arguments, str(self.folder)], capture_output=True)
        return result.returncode == 0
