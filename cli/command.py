"""Where the `countermand` command begins: Ctrl-C ends it quietly also while its modules are being imported."""

import os
import signal
from types import FrameType


def _quit(_number: int, _frame: FrameType | None) -> None:
    # Nothing is there yet that would have to be left in order.
    os.write(2, b"countermand: interrupted\n")
    os._exit(130)


def main() -> None:
    """Runs the command that the command line names."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _quit)
    from cli.main import main as run

    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)
    run()
