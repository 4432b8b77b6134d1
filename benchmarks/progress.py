"""What a person sees while a measurement runs, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.terminal import counting_progress, err


def say(line: str) -> None:
    """Says what is measured now."""
    err.print(line, highlight=False)


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows a bar where that is a terminal; what it yields is called with how much is done."""
    with counting_progress() as bars:
        task = bars.add_task(title, total=total)
        yield lambda completed: bars.update(task, completed=max(0, completed))
