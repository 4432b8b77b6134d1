"""Progress of a measurement, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.terminal import counting_progress, err


def print_progress(line: str) -> None:
    """Prints what is being measured."""
    err.print(line, highlight=False)


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows a progress bar on a terminal; yields a function that sets how much is done."""
    with counting_progress() as bars:
        task = bars.add_task(title, total=total)
        yield lambda completed: bars.update(task, completed=max(0, completed))
