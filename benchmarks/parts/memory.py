"""Memory: what each process holds after a warm-up, and after many times as many requests."""

from benchmarks.backlog import await_done, prove, publish
from benchmarks.made import cancel_requests, load_orders
from benchmarks.progress import print_progress
from benchmarks.run import Figures, Run
from benchmarks.system import our_programs, tidy_up
from database.transactions import in_transaction


def measure(run: Run) -> Figures:
    """Returns the resident memory of each program in megabytes, at the start, after the warm-up and at the end."""
    chunk, total = run.sizes.memory_warm_up, run.sizes.memory_requests
    with run.system.fresh_database():
        in_transaction(lambda connection: load_orders(connection, open_orders=total))
        tidy_up()
        numbers = [f"SO-{n}" for n in range(1, total + 1)]
        with run.system.processes(our_programs()) as processes:
            rss = [processes.rss_megabytes()]
            for start in range(0, total, chunk):
                publish(cancel_requests(numbers[start : start + chunk]))
                await_done(chunk, f"requests {start + 1:,} to {start + chunk:,}")
                rss.append(processes.rss_megabytes())
        prove(total)
    first, warm, *_, last = rss
    # Valkey's is that of what was on the broker at once.
    growth = max(last[name] / warm[name] - 1 for name in last if name != "valkey")
    print_progress(f"  growth after {chunk:,} requests: {growth:+.1%}")
    return {
        "requests": total,
        "megabytes_at_start": first,
        "megabytes_warm": warm,
        "megabytes_at_end": last,
        "largest_growth": growth,
    }
