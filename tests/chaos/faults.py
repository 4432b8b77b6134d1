"""The faults, and the seeded schedule by which they come."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from threading import Event

from starlette.responses import Response

from tests.chaos.books import Books
from tests.chaos.house import PATIENCE_SECONDS, House
from tests.chaos.leases import LEASES, end_rests, kill_and_end_leases
from tests.chaos.senders import StreamSender
from tests.chaos.servers import Server, Servers, comes
from tests.chaos.traffic import token
from tests.helpdesks.faults import Act, Fault, after_storing, hangs_up, says
from tests.integration.sftp_server import Cut, Moment
from tests.processes import await_that
from workers.supervisor import programs

# Longer than the desks' time-out in the file.
_DAWDLING_SECONDS = 3.0
_LOST_AT_ONCE = 40
_MOMENT_SECONDS = 8.0
# Of a delivery; some of them also of a look at whether it stands there.
_STEPS = ("connect", "authenticate", "open session", "open hidden", "write", "close", "rename", "stat visible")
_HANGING_STEPS = ("authenticate", "open hidden", "close", "rename")


class Faults:
    """Everything that can go wrong; each fault is over when its method returns, but for what it leaves behind."""

    def __init__(
        self,
        seed: int,
        house: House,
        servers: Servers,
        sender: StreamSender,
        books: Books,
        waits_for_leases: bool,
        owns_broker: bool,
    ) -> None:
        """Unless it `owns_broker` that is another's, and is left alone."""
        self._chance = Random(f"{seed} faults")  # noqa: S311  # must be the same again
        self._house, self._sender, self._books = house, sender, books
        self._waits_for_leases = waits_for_leases
        self._over = Event()
        self.counts: Counter[str] = Counter()
        # What was neither on the broker nor in the tables when the broker was to be wiped.
        self.lost: list[str] = []
        self._known: Mapping[str, Callable[[], None]] = {
            **{f"{program} killed": self._killing(program) for program in programs()},
            "a worker's child killed": self._kill_a_child,
            "northern folder away": self._replace_the_folder,
            "southern line cut": self._cut_the_line,
            "southern warehouse hung": self._hang_the_warehouse,
            "desks failing": self._let_desks_fail,
            # What the intake has in hand then is still the broker's.
            "database stopped": lambda: self._restart(servers.database, "intake"),
            **(self._of_the_broker(servers) if owns_broker else {}),
        }

    def schedule(self) -> Iterator[Callable[[], None]]:
        """Yields all faults in a random sequence, then all in another one, and so on, with pauses between them."""
        while True:
            for name in self._chance.sample(list(self._known), k=len(self._known)):
                Event().wait(self._chance.uniform(0.1, 1.5))
                yield self._counted(name)

    def __len__(self) -> int:
        return len(self._known)

    def end(self) -> None:
        """Ends what faults have left behind: from now on all goes well."""
        self._over.set()

    def _counted(self, name: str) -> Callable[[], None]:
        def fault() -> None:
            self._note(name)
            self._known[name]()
            self.counts[name] += 1
            self._note(f"{name}: done")

        return fault

    def _note(self, what: str) -> None:
        with (self._house.folder / "faults.log").open("a") as log:
            log.write(f"{datetime.now(UTC).isoformat()} {what}\n")

    # Processes

    def _killing(self, program: str) -> Callable[[], None]:
        if program in LEASES and not self._waits_for_leases:
            return lambda: kill_and_end_leases(self._house, self._books, program)
        return lambda: self._house.kill(program)

    def _kill_a_child(self) -> None:
        self._house.kill_a_child(self._chance.choice(("worker", "answerer", "exporter")))

    # Servers

    def _of_the_broker(self, servers: Servers) -> dict[str, Callable[[], None]]:
        return {
            "broker killed": lambda: self._restart(servers.broker, self._chance.choice(list(programs()))),
            "broker wiped": lambda: self._wipe(servers),
        }

    def _restart(self, server: Server, victim: str) -> None:
        """Lets a server be away for a while, in which somebody else dies."""
        server.crash()
        Event().wait(self._chance.uniform(0.5, 1.5))
        self._house.kill(victim)
        Event().wait(self._chance.uniform(0, 1))
        server.start()
        self.counts[f"{victim} killed"] += 1

    def _wipe(self, servers: Servers) -> None:
        """Loses what the broker has. What was not taken by then was never acknowledged, and is published again."""
        with self._sender.lock:
            # So that there is something to lose.
            self._house.kill("intake")
            self._sender.publish(_LOST_AT_ONCE)
            # The broker first: what leaves it between the two looks is in the tables.
            on_the_broker = set(map(token, self._books.on_the_broker()))
            taken = self._books.taken()
            self.lost += [known for known in self._sender.published if known not in on_the_broker | taken]
            servers.broker.crash()
            servers.wipe_broker()
            servers.broker.start()
            taken = self._books.taken()
            again = [body for known, body in self._sender.published.items() if known not in taken]
            self._sender.republish(again)
        self.counts["messages published again"] += len(again)

    # Transports

    def _replace_the_folder(self) -> None:
        """Puts a file in its place, until a delivery fails: not even root writes into that as if it were a folder."""
        _replace(self._house.north, lambda path: path.write_bytes(b""))
        failed = """
            SELECT FROM partner LEFT JOIN interchange ON partner = name AND state = 'claimed'
            WHERE name = 'NORTH' AND (failures > 0 OR interchange.error IS NOT NULL)
        """
        self._await(lambda: bool(self._books.rows(failed)), "a northern delivery fails")
        _replace(self._house.north, lambda path: path.symlink_to(self._house.real_north))

    def _cut_the_line(self) -> None:
        warehouse = self._house.warehouse
        step = self._chance.choice(_STEPS)
        warehouse.has_cut = False
        # Not the very next time, which may be happening already.
        warehouse.cut = Cut(step, warehouse.journal.count(step) + 2, self._chance.choice(tuple(Moment)))
        self._await(lambda: warehouse.has_cut, f"the line is cut at {step}")

    def _hang_the_warehouse(self) -> None:
        warehouse, hanging = self._house.warehouse, Event()
        warehouse.hanging = hanging.set
        warehouse.hangs_at = self._chance.choice(_HANGING_STEPS)
        self._await(hanging.is_set, f"the warehouse hangs at {warehouse.hangs_at}")
        warehouse.hangs_at = None

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        """Waits until a fault has met somebody; where leases are waited for, not longer than a moment."""
        if self._waits_for_leases:
            self.counts["faults that met nobody in time"] += not comes(condition, _MOMENT_SECONDS)
            return

        def is_met() -> bool:
            end_rests(self._books)
            return condition()

        await_that(is_met, what, PATIENCE_SECONDS)

    # Desks

    def _let_desks_fail(self) -> None:
        """Lets calls of both desks fail, until each has stored an answer and not said so."""
        desks = (self._house.zendesk, self._house.standard)
        stored = {desk: Event() for desk in desks}
        for desk in desks:
            for action in desk.actions:
                desk.next(action, self._while_faults_last(self._chance.choice((says(500), says(429, Retry_After="1")))))
            unsaid = self._chance.choice((after_storing(says(500)), after_storing(hangs_up), dawdles))
            desk.next("write", self._while_faults_last(_telling(stored[desk], unsaid)))
        self._await(lambda: all(one.is_set() for one in stored.values()), "both desks have stored without a word")

    def _while_faults_last(self, fault: Fault) -> Fault:
        return lambda act: act() if self._over.is_set() else fault(act)


def _telling(event: Event, fault: Fault) -> Fault:
    def notified(act: Act) -> Response:
        event.set()
        return fault(act)

    return notified


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    """Puts something else there at one stroke."""
    new = path.with_suffix(".new")
    make(new)
    new.replace(path)


def dawdles(act: Act) -> Response:
    """Does what was asked, and answers when nobody waits for it any more."""
    response = act()
    Event().wait(_DAWDLING_SECONDS)
    return response
