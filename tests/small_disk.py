"""A disk that can be made full: a file system in memory, where we may mount one."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A file system of a few megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leaves not a byte."""
        with self._filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * max(4096, shutil.disk_usage(self.folder).free // 2))
            except OSError:
                return

    def free(self) -> None:
        """Gives back what was filled."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mounts a disk there for the block; skips the test where that is not allowed."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("there is no mount")
    folder.mkdir(parents=True, exist_ok=True)
    mounting = [mount, "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(folder)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("only who may mount a file system can make one full")
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: whoever still stands in it must not keep it.
        subprocess.run([umount, "--lazy", str(folder)], check=True)
