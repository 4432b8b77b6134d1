"""The users that our processes run as when root starts them: no process that faces the network stays root.

In an ordinary user's home, everything runs as that user. In root's home, the processes run as the user `countermand`,
and the embedded servers as `countermand-data`, which sees neither the processes' environment nor their files. Both are
created if missing. If an ordinary user starts us, everything runs as that user.
"""

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import workers
from workers.errors import UsageError

PROCESSES, SERVERS = "countermand", "countermand-data"
# The folders in root's home that the processes write to.
_PROCESS_FOLDERS = ("log", "edi")
# Shorter paths, such as /srv, belong to the system.
_PARTS_OF_OUR_OWN = 3

# Runs as the processes' account; prints the files that it cannot read and the folders that it cannot write to.
_PROBE = """
import json, os, sys
files, folders = json.load(sys.stdin)
import workers.logs, celery, psycopg
print(json.dumps([
    [name for name in files if not os.access(name, os.R_OK)],
    [name for name in folders if not os.access(name, os.W_OK | os.X_OK)],
]))
"""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the system."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def options(self) -> dict[str, Any]:
        """Returns the options by which `Popen` starts a process as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups)}

    def give(self, path: Path) -> None:
        """Makes this user its owner; does not follow links."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)


class NotPermitted(UsageError):
    """The user that the processes run as lacks a permission."""

    def __init__(self, account: Account, what: str, path: Path) -> None:
        super().__init__(f"the user {account.name}, as which the processes run, may not {what} {path}")


def is_root() -> bool:
    """Returns True if this process can switch to any user."""
    return os.geteuid() == 0


def system_user(name: str) -> Account:
    """Returns the system's user of this name, and creates it if missing. Raises UsageError."""
    with suppress(KeyError):
        return _of(pwd.getpwnam(name))
    useradd = shutil.which("useradd")
    if useradd is None:
        raise UsageError(f"there is no user {name} and no useradd to make it: make it, or start as an ordinary user")
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    done = subprocess.run(  # noqa: S603  # no part of it comes from outside
        [useradd, *options, "--shell", "/usr/sbin/nologin", name], capture_output=True, text=True, check=False
    )
    with suppress(KeyError):
        # Another process may have just created it.
        return _of(pwd.getpwnam(name))
    raise UsageError(f"the user {name} cannot be made ({done.stderr.strip()}): make it, or start as an ordinary user")


def _of(found: pwd.struct_passwd) -> Account:
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def owner_of(home: Path) -> Account | None:
    """Returns the ordinary user that owns a home; None if root does, or if it does not exist."""
    if not home.exists() or (uid := home.stat().st_uid) == 0:
        return None
    try:
        return _of(pwd.getpwuid(uid))
    except KeyError:
        raise UsageError(f"the home {home} belongs to the user {uid}, which this system does not know") from None


def work_as_owner_of(home: Path) -> None:
    """Switches root to the user that exports in this home, so that new files belong to that user."""
    if not is_root():
        return
    if owner := owner_of(home):
        switch_to(owner)
    elif (of_processes := owner_of(home / "edi")) and of_processes.name == PROCESSES:
        switch_to(processes_account())


def switch_to(account: Account) -> None:
    """Switches root to this user permanently."""
    allow_traversal(*_program_folders())
    os.setgroups(account.groups or os.getgrouplist(account.name, account.gid))
    os.setgid(account.gid)
    os.setuid(account.uid)
    os.environ["HOME"] = pwd.getpwuid(account.uid).pw_dir


def processes_account() -> Account:
    """Returns the user `countermand`, in the servers' group, which may traverse the home and reach the socket."""
    return replace(system_user(PROCESSES), groups=(system_user(SERVERS).gid,))


def give_home(home: Path) -> Account:
    """Makes the user `countermand` the owner of what the processes write in root's home; returns that user."""
    account = processes_account()
    os.chown(home, 0, *account.groups)
    home.chmod(0o710)
    for top in _PROCESS_FOLDERS:
        (home / top).mkdir(mode=0o700, exist_ok=True)
        for folder, folders, files in os.walk(home / top):
            for path in (Path(folder), *(Path(folder, name) for name in (*folders, *files))):
                found = path.lstat()
                # A file with a second name may belong somewhere else.
                if found.st_uid == 0 and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
                    account.give(path)
    return account


def prepare_for(account: Account, files: Iterable[Path], folders: Iterable[Path]) -> None:
    """Allows a user to read the program and these files, and to write in these folders. Raises NotPermitted.

    The user becomes the owner of folders that root owns; missing folders are created, their parents made traversable.
    """
    files, folders = [path.resolve() for path in files], [path.resolve() for path in folders]
    for folder in folders:
        if not folder.exists():
            folder.mkdir(mode=0o750, parents=True)
    allow_traversal(*_program_folders(), *(above for path in (*files, *folders) for above in path.parents))
    unreadable, closed = _probe(account, files, folders)
    for path in closed:
        if path.stat().st_uid != 0 or len(path.parts) < _PARTS_OF_OUR_OWN:
            raise NotPermitted(account, "write into", path)
        os.chown(path, account.uid, -1)
        path.chmod(path.stat().st_mode | stat.S_IRWXU)
    for path in unreadable:
        raise NotPermitted(account, "read", path)


def _probe(account: Account, files: list[Path], folders: list[Path]) -> list[list[Path]]:
    asked = json.dumps([[str(path) for path in paths] for paths in (files, folders)])
    done = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-P", "-c", _PROBE],
        input=asked,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath)},
        **account.options(),
    )
    if done.returncode:
        raise NotPermitted(account, "read", Path(sys.prefix))
    return [[Path(name) for name in names] for names in json.loads(done.stdout)]


def _program_folders() -> list[Path]:
    places = {Path(sys.executable), Path(sys.executable).resolve(), Path(workers.__file__)}
    places |= {Path(entry) for entry in sys.path if entry and Path(entry).is_dir()}
    return [above for place in places for above in place.parents]


def allow_traversal(*folders: Path) -> None:
    """Allows other users to traverse folders (the `x` bit), but not to list them."""
    for folder in folders:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
