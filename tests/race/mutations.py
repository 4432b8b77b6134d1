"""Mutations of locks, guards and constraints: each is made in a copy of the tree, and the tests it names must fail.

`python -m tests.race.mutations [WORD …]` runs all, or those whose names contain one of the words. It exits with 1 if
one survives, and with 2 if none was run.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "var", "build", "*.egg-info", "docs")
_LIMIT_SECONDS = 900

_RACES = "tests/race/test_change_against_export.py"
_EXPORTS = "tests/race/test_interleavings_exports.py"
_INTAKE = "tests/race/test_interleavings_intake.py"
_REQUESTS = "tests/race/test_interleavings_requests.py"
_EFFECTS = "tests/race/test_interleavings_effects.py"
_NO_LOCKS = "tests/race/test_interleavings_without_locks.py"
_LOCKS = "tests/integration/test_locks.py"
_POISON = "tests/integration/test_poison.py"
_SCHEMA = "tests/integration/test_schema.py"
_TABLES = "database/tables.py"
_FIRST = "database/migrations/versions/0001_the_tables.py"


@dataclass(frozen=True, slots=True)
class Edit:
    """A text that a file holds once, and what takes its place."""

    file: str
    old: str
    new: str = ""


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is taken away from the product, and the tests that must see it."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def _of(name: str, file: str, old: str, new: str, *tests: str) -> Mutation:
    return Mutation(name, (Edit(file, old, new),), tests)


MUTATIONS = (
    _of(
        "lock: deciding does not lock the orders",
        "database/locks.py",
        " FOR NO KEY UPDATE OF orders SKIP LOCKED",
        "",
        f"{_RACES}::test_two_workers_decide_the_requests_of_one_order_once_and_in_sequence",
    ),
    _of(
        "lock: exporting does not lock the orders",
        "database/locks.py",
        " ORDER BY id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED",
        " ORDER BY id LIMIT :limit",
        f"{_RACES}::test_a_cancellation_and_an_export_that_has_lost_patience_end_one_way_or_the_other_never_both",
    ),
    _of(
        "lock: accepting does not lock the number of the order",
        "orders/inbox.py",
        "    lock_numbers_for_accepting(connection, [one.order_number for one in arrived])\n",
        "",
        f"{_RACES}::test_requests_for_one_order_have_their_ids_in_the_sequence_of_their_commits",
        f"{_RACES}::test_a_cancellation_accepted_before_the_claim_wins_over_the_export",
    ),
    _of(
        "lock: the exporter does not ask whether an intake holds the number",
        "database/locks.py",
        " FILTER (WHERE is_free)",
        "",
        f"{_RACES}::test_a_cancellation_accepted_before_the_claim_wins_over_the_export",
    ),
    _of(
        "lock: the exporter does not look for undecided requests again under its locks",
        "database/exportable.py",
        " AND {_IS_FREE} ORDER BY id\n",
        " ORDER BY id\n",
        f"{_RACES}::test_a_cancellation_accepted_before_the_claim_wins_over_the_export",
    ),
    _of(
        "lock: exporting does not lock the partner",
        "database/locks.py",
        "FROM partner WHERE name = :name FOR NO KEY UPDATE",
        "FROM partner WHERE name = :name",
        f"{_EXPORTS}::test_two_exports_that_could_take_an_order_each_send_one_interchange_after_the_other",
    ),
    _of(
        "lock: loading does not lock known orders",
        "database/locks.py",
        "connection.execute(known.with_for_update(key_share=True)).all()",
        "connection.execute(known).all()",
        f"{_RACES}::test_a_pre_order_is_abandoned_or_validated_first_and_then_cancelled",
    ),
    Mutation(
        "lock: reprocessing locks neither numbers nor requests",
        (
            Edit(
                "orders/reprocessing.py",
                "    lock_numbers_for_accepting(connection, [row.order_number for row in requests])\n",
            ),
            Edit("orders/reprocessing.py", "still_parked = lock_parked(connection, ids)", "still_parked = list(ids)"),
        ),
        (_REQUESTS,),
    ),
    _of(
        "lock: settling an answer does not lock it",
        "database/locks.py",
        "where(effect.c.id == effect_id).with_for_update(key_share=True)",
        "where(effect.c.id == effect_id)",
        _EFFECTS,
    ),
    _of(
        "lock: restocks do not go by sku",
        "orders/stock.py",
        "GROUP BY sku ORDER BY sku",
        "GROUP BY sku",
        f"{_LOCKS}::test_stock_is_upserted_by_sku",
    ),
    _of(
        "guard: an interchange is settled without its fence",
        "edi/outcomes.py",
        "(row.state, row.fence), (InterchangeState.CLAIMED, settled.fence))",
        "(row.state, settled.fence), (InterchangeState.CLAIMED, settled.fence))",
        f"{_EXPORTS}::test_a_late_sender_confirms_or_has_lost_the_fence_and_the_order_is_sent_once",
        f"{_EXPORTS}::test_a_late_sender_releases_nothing_that_another_is_sending",
    ),
    _of(
        "guard: orders in flight are decided",
        "database/locks.py",
        "    WHERE orders.edi_state <> 'claimed'\n",
        "",
        f"{_EXPORTS}::test_a_request_that_waits_for_an_interchange_is_decided_by_its_outcome",
    ),
    _of(
        "guard: a decision is written over another version of the order",
        "orders/decisions.py",
        " AND orders.version = changed.version AND edi_state = 'not_sent'",
        "",
        f"{_NO_LOCKS}::test_a_change_of_address_does_not_undo_another",
        f"{_NO_LOCKS}::test_an_order_is_not_both_cancelled_and_claimed",
    ),
    _of(
        "guard: a decided request is decided again",
        "orders/decisions.py",
        "WHERE change_request.id = decided.id AND state IS NOT DISTINCT FROM 'received'",
        "WHERE change_request.id = decided.id",
        f"{_NO_LOCKS}::test_a_request_is_not_decided_twice",
    ),
    _of(
        "guard: what was rendered is sent though the order has changed since",
        "edi/drafts.py",
        " and draft.version == version",
        "",
        f"{_RACES}::test_the_bytes_say_the_old_or_the_new_address_and_so_do_the_order_and_its_changelog",
    ),
    _of(
        "guard: an order is claimed whatever its EDI state",
        "edi/interchanges.py",
        "WHERE id = ANY(CAST(:ids AS bigint[])) AND edi_state = 'not_sent'\n",
        "WHERE id = ANY(CAST(:ids AS bigint[]))\n",
        f"{_NO_LOCKS}::test_two_interchanges_do_not_carry_the_same_order",
    ),
    _of(
        "guard: a late failure is counted on a decided request",
        "orders/request_retries.py",
        ".where(request.id == request_id, request.state == RequestState.RECEIVED)\n        .values(\n",
        ".where(request.id == request_id)\n        .values(\n",
        f"{_REQUESTS}::test_a_failure_that_is_counted_late_does_not_touch_what_another_worker_has_decided",
    ),
    _of(
        "guard: an answer is settled without its fence",
        "orders/answers.py",
        "expect_fence(name, (row.state, row.delivery_state, row.fence), held)",
        "expect_fence(name, (row.state, NotificationState.SENDING, leased.fence), held)",
        _EFFECTS,
    ),
    _of(
        "guard: what has just arrived overtakes an earlier request of its order",
        "orders/inbox.py",
        " and row.has_no_open_request]",
        "]",
        f"{_INTAKE}::test_a_request_that_is_taken_does_not_overtake_an_earlier_one_that_is_being_decided",
    ),
    _of(
        "guard: a redelivered batch is decided at once",
        "tasks/intake.py",
        " and not any(one.is_redelivered for one in deliveries)",
        "",
        f"{_POISON}::test_an_intake_dies_once_of_a_request_and_leaves_its_decision_to_the_worker",
    ),
    Mutation(
        "constraint: a closed order may be in an interchange",
        (
            Edit(_TABLES, "status NOT IN ('abandoned', 'cancelled') OR edi_state = 'not_sent'", "true"),
            Edit(_FIRST, "status NOT IN ('abandoned', 'cancelled') OR edi_state = 'not_sent'", "true"),
        ),
        (f"{_NO_LOCKS}::test_an_order_is_not_both_cancelled_and_claimed",),
    ),
    Mutation(
        "constraint: a line may be restocked twice",
        (
            Edit(_TABLES, 'UniqueConstraint("order_id", "line_no", "cause")', 'UniqueConstraint("id", "cause")'),
            Edit(
                _FIRST, 'sa.UniqueConstraint("order_id", "line_no", "cause", name=', 'sa.UniqueConstraint("id", name='
            ),
        ),
        (f"{_NO_LOCKS}::test_a_line_is_not_restocked_twice",),
    ),
    Mutation(
        "constraint: a request may make the same change twice",
        (
            Edit(_TABLES, 'UniqueConstraint("change_request_id", "action")', 'UniqueConstraint("id", "action")'),
            Edit(_FIRST, 'sa.UniqueConstraint("change_request_id", "action", name=', 'sa.UniqueConstraint("id", name='),
        ),
        (f"{_SCHEMA}::test_every_constraint_refuses_what_it_should",),
    ),
    _of(
        "constraint: a decision may be answered twice",
        _FIRST,
        'sa.UniqueConstraint("change_request_id", name=op.f("notification_change_request_id_unique"))',
        'sa.UniqueConstraint("id", name=op.f("notification_change_request_id_unique"))',
        f"{_NO_LOCKS}::test_a_decision_is_not_put_into_words_twice",
    ),
    _of(
        "constraint: a changelog can be rewritten",
        _FIRST,
        '("changelog_is_append_only", "changelog", "UPDATE OR DELETE", "", ',
        '("changelog_is_append_only", "changelog", "DELETE", "", ',
        f"{_SCHEMA}::test_every_trigger_refuses_what_it_should",
    ),
    _of(
        "constraint: an order changes while an interchange carries it",
        _FIRST,
        "\"OLD.edi_state <> 'not_sent' AND (OLD.number, ",
        "\"OLD.edi_state = 'sent' AND (OLD.number, ",
        f"{_SCHEMA}::test_every_trigger_refuses_what_it_should",
    ),
)


def mutate(root: Path, mutation: Mutation) -> dict[Path, str]:
    """Makes the edits of a mutation in the tree at `root`; returns what the files were before."""
    before: dict[Path, str] = {}
    for edit in mutation.edits:
        path = root / edit.file
        text = path.read_text()
        if (found := text.count(edit.old)) != 1:
            raise ValueError(f"{mutation.name}: {edit.file} holds {edit.old!r} {found} times, expected once")
        before.setdefault(path, text)
        path.write_text(text.replace(edit.old, edit.new))
    return before


def _run(root: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Runs tests in the tree at `root`; returns pytest's exit code, and the first test that failed."""
    arguments = ["-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=0", *tests]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=root,
        # A module is read anew even if it was changed twice in a second.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
    )
    failed = re.search(r"^(?:FAILED|ERROR) \S*?::(\S+)", done.stdout, re.MULTILINE)
    return done.returncode, failed[1] if failed else " ".join(done.stdout.split()[-50:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the mutations whose names contain one of the words, or all; returns 1 if one survives, 2 if none was run."""
    parser = argparse.ArgumentParser(prog="python -m tests.race.mutations", description=__doc__)
    parser.add_argument("words", metavar="WORD", nargs="*", help="only those whose names contain one of these (all)")
    parser.add_argument("--list", action="store_true", help="print their names, and run none")
    given = parser.parse_args(arguments)
    chosen = [one for one in MUTATIONS if not given.words or any(word in one.name for word in given.words)]
    if not chosen:
        print(f"no mutation is named with {' or '.join(given.words)}; --list prints their names", file=sys.stderr)
        return 2
    if given.list:
        print(*(one.name for one in chosen), sep="\n")
        return 0
    return _run_all(chosen)


def _run_all(chosen: Sequence[Mutation]) -> int:
    with tempfile.TemporaryDirectory(prefix="countermand-mutations-") as folder:
        root = Path(folder) / "tree"
        shutil.copytree(ROOT, root, ignore=_NOT_COPIED)
        code, reported = _run(root, sorted({test for one in chosen for test in one.tests}))
        if code:
            print(f"without any mutation the tests do not pass: {reported}", file=sys.stderr)
            return 2
        survived = [one for one in chosen if not _is_caught(root, one)]
    print(f"{len(chosen)} mutations, {len(chosen) - len(survived)} caught, {len(survived)} survived")
    return 1 if survived else 0


def _is_caught(root: Path, mutation: Mutation) -> bool:
    before = mutate(root, mutation)
    code, reported = _run(root, mutation.tests)
    for path, text in before.items():
        path.write_text(text)
    caught = code == 1
    print(f"{'caught  ' if caught else 'SURVIVED'} {mutation.name} | {reported}", flush=True)
    return caught


if __name__ == "__main__":
    sys.exit(main())
