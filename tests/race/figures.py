"""The figures of docs/guarantees.md: made of what the tests recorded, in one run, by `make figures`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GUARANTEES = Path(__file__).parents[2] / "docs/guarantees.md"
# Recorded of a race of which not every order was run.
NOT_ALL = "not all"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table, and the tests whose numbers it gives."""

    what: str
    tests: tuple[str, ...]


def _row(what: str, *tests: str) -> Row:
    return Row(what, tuple(f"test_{test}" for test in tests))


INTERLEAVINGS = (
    _row(
        "E | apply × export, within the patience",
        "an_undecided_cancellation_holds_its_order_back_from_an_export_that_starts_with_its_decision",
    ),
    _row(
        "E | apply × export, patience over",
        "a_cancellation_and_an_export_that_has_lost_patience_end_one_way_or_the_other_never_both",
    ),
    _row(
        "E | apply × export, a change of address and the bytes",
        "the_bytes_say_the_old_or_the_new_address_and_so_do_the_order_and_its_changelog",
    ),
    _row(
        "E | apply × export, an escalation: patience over, within it",
        "an_escalation_that_is_decided_before_the_claim_holds_its_order_back",
    ),
    _row("E | intake × export", "a_cancellation_accepted_before_the_claim_wins_over_the_export"),
    _row(
        "E | apply × export × intake of a second request",
        "a_second_request_that_comes_while_the_first_is_decided_is_in_time_or_too_late_for_the_export",
    ),
    _row(
        "E | export × export, one partner: known, new, an order each",
        "two_exports_make_one_interchange_and_no_gap_in_the_numbers",
        "two_exports_that_could_take_an_order_each_send_one_interchange_after_the_other",
    ),
    _row(
        "E | export × export, two partners that want one order", "of_two_partners_that_want_the_same_order_one_gets_it"
    ),
    _row("E | store release × export", "an_order_that_the_store_releases_goes_with_this_export_or_the_next"),
    _row(
        "E | confirm × take-over, release × take-over",
        "a_late_sender_confirms_or_has_lost_the_fence_and_the_order_is_sent_once",
        "a_late_sender_releases_nothing_that_another_is_sending",
    ),
    _row(
        "E | apply × confirm, apply × release",
        "a_request_that_waits_for_an_interchange_is_decided_by_its_outcome",
    ),
    _row(
        "E | next number × export: forward, back; next number × next number",
        "a_number_is_skipped_before_the_claim_or_after_it_and_never_left_out",
        "nobody_sets_a_number_that_a_claim_takes_meanwhile",
        "two_operators_at_once_leave_one_number_and_no_gap",
    ),
    _row("R | apply × apply, one order", "two_workers_decide_the_requests_of_one_order_once_and_in_sequence"),
    _row(
        "R | apply × intake of a second request",
        "a_request_that_comes_while_an_earlier_one_is_decided_is_decided_after_it",
    ),
    _row(
        "R | apply × store release (pre-order → validated)",
        "a_pre_order_is_abandoned_or_validated_first_and_then_cancelled",
    ),
    _row(
        "R | intake × intake: other data, same data, several orders",
        "of_two_intakes_of_one_key_the_first_to_commit_keeps_it",
        "requests_for_one_order_have_their_ids_in_the_sequence_of_their_commits",
    ),
    _row("R | reprocess × apply", "a_reprocessed_request_is_decided_once_beside_what_is_decided_meanwhile"),
    _row("R | reprocess × reprocess", "two_who_reprocess_the_same_request_revive_it_once"),
    _row("R | reprocess × export", "a_reprocessed_request_holds_its_order_back_or_comes_too_late"),
    _row(
        "R | parking an unknown order × loading it",
        "a_request_whose_order_comes_as_its_patience_ends_is_decided_by_itself",
    ),
    _row(
        "R | counting a failure × apply",
        "a_failure_that_is_counted_late_does_not_touch_what_another_worker_has_decided",
    ),
    _row(
        "I | intake that decides × export: patience over, within it",
        "a_cancellation_that_is_decided_as_it_is_taken_ends_cancelled_or_sent_never_both",
    ),
    _row(
        "I | intake that decides × export, an escalation",
        "an_escalation_that_is_decided_as_it_is_taken_holds_its_order_or_comes_too_late",
    ),
    _row(
        "I | intake that decides × confirm, × release",
        "a_request_that_is_taken_while_its_order_is_on_its_way_is_decided_by_the_outcome",
    ),
    _row(
        "I | intake that decides × apply of an earlier request",
        "a_request_that_is_taken_does_not_overtake_an_earlier_one_that_is_being_decided",
    ),
    _row(
        "I | intake that decides × another: one order, two orders crosswise",
        "of_two_intakes_that_decide_for_one_order_the_second_sees_what_the_first_has_left",
        "two_intakes_that_decide_for_two_orders_crosswise_do_not_wait_for_one_another",
    ),
    _row(
        "I | intake that decides × loading its order, × store release",
        "a_request_whose_order_is_loaded_as_it_is_taken_is_decided_at_once_or_later",
        "a_pre_order_that_the_store_releases_as_its_cancellation_is_taken_is_abandoned_or_cancelled",
    ),
    _row(
        "I | intake that decides × reprocess",
        "a_request_that_is_taken_beside_one_that_is_reprocessed_is_decided_once_and_so_is_that",
    ),
    _row(
        "S | another spelling of the number: intake × export",
        "a_cancellation_that_spells_the_number_otherwise_wins_over_an_export_that_comes_after_it",
    ),
    _row(
        "S | another spelling of the number: intake × loading the order",
        "a_request_in_another_spelling_that_is_accepted_as_its_order_is_loaded_holds_that_back",
    ),
    _row(
        "S | two spellings of the number: intake × intake",
        "requests_in_two_spellings_are_decided_in_the_sequence_of_their_commits",
    ),
    _row(
        "S | another spelling of the number: reprocess × loading the order",
        "a_parked_request_that_is_reprocessed_as_its_order_is_loaded_finds_it",
    ),
    _row(
        "F | restock × restock on shared articles: all that is due, an effect each",
        "two_restocks_of_the_same_articles_put_each_line_back_once",
    ),
    _row("F | notify × notify", "two_workers_put_a_decision_into_words_once"),
    _row("F | answer: lease × lease", "an_answer_is_leased_to_one_of_two"),
    _row(
        "F | answer: lease × late confirm, lease × late failure",
        "a_late_holder_of_a_lease_confirms_or_has_lost_the_fence",
        "a_late_failure_does_not_touch_an_answer_that_another_has_in_hand",
    ),
    _row("W | apply × export", "an_order_is_not_both_cancelled_and_claimed"),
    _row(
        "W | apply × apply: one request, two requests",
        "a_request_is_not_decided_twice",
        "a_change_of_address_does_not_undo_another",
    ),
    _row(
        "W | export × export: two partners, one partner",
        "two_interchanges_do_not_carry_the_same_order",
        "a_partner_does_not_get_two_interchanges_at_once",
    ),
    _row(
        "W | restock × restock, notify × notify",
        "a_line_is_not_restocked_twice",
        "a_decision_is_not_put_into_words_twice",
    ),
)

CRASHES = (
    _row(
        "an intake: an entry, one that the database refuses",
        "an_intake_killed_anywhere_once_or_twice_takes_each_entry_once",
        "an_intake_killed_anywhere_puts_what_the_database_refuses_aside_once",
    ),
    _row(
        "a webhook: kept, unusable",
        "a_webhook_killed_anywhere_and_sent_again_is_kept_once",
        "a_webhook_that_cannot_be_read_killed_anywhere_is_one_dead_letter",
    ),
    _row(
        "a worker: decides, escalates, restocks, notifies, parks",
        "a_worker_killed_anywhere_decides_once",
        "a_worker_killed_anywhere_holds_what_it_escalates_once",
        "a_worker_killed_anywhere_restocks_once",
        "a_worker_killed_anywhere_writes_one_notification",
        "a_worker_killed_anywhere_parks_once",
    ),
    _row(
        "a worker that counts: an attempt first, blocked by another, a failure",
        "a_wary_worker_killed_anywhere_has_counted_each_try_and_decides_in_the_end",
        "a_wary_worker_killed_anywhere_counts_no_try_that_another_kept_it_from",
        "a_worker_killed_anywhere_counts_a_failure_once",
    ),
    _row(
        "an answerer: heard, unheard, with a note",
        "an_answerer_killed_anywhere_tells_a_decision_once",
        "an_answerer_killed_anywhere_after_an_answer_was_lost_tells_a_decision_once",
        "an_answerer_killed_anywhere_writes_a_note_once",
    ),
    _row(
        "a webhook that names a ticket, a reader of tickets: takes a form, none, a wrong one, cannot read it; a list: "
        "found, failed",
        "a_webhook_that_names_a_ticket_killed_anywhere_and_sent_again_is_one_request",
        "a_reader_killed_anywhere_takes_a_form_once",
        "a_reader_killed_anywhere_at_a_blank_form_takes_nothing",
        "a_reader_killed_anywhere_at_a_form_that_is_no_request_leaves_one_dead_letter",
        "a_reader_killed_anywhere_while_its_desk_is_away_loses_no_ticket",
        "a_list_killed_anywhere_moves_on_only_with_what_it_has_found",
        "a_list_that_fails_killed_anywhere_moves_nothing",
    ),
    _row(
        "an exporter: to a folder, by SFTP",
        "an_export_to_a_directory_killed_anywhere_once_or_twice_ends_as_if_it_had_not_been",
        "an_export_by_sftp_killed_anywhere_once_or_twice_ends_as_if_it_had_not_been",
    ),
    _row(
        "an exporter: fails (a new number, the same), meets another file, keeps a schedule, delivers too late",
        "an_export_that_fails_killed_anywhere_is_released_or_sent_in_the_end",
        "an_export_that_meets_another_file_killed_anywhere_stays_open_and_is_sent_once_that_is_gone",
        "an_export_on_a_schedule_killed_anywhere_keeps_a_cutoff_once_all_that_was_due_is_sent",
        "an_exporter_killed_anywhere_after_its_interchange_was_released_sends_the_order_with_another",
    ),
    _row(
        "an exporter after a failure: sends, reaches nobody, has nothing to send",
        "an_exporter_killed_anywhere_after_a_failure_tries_the_way_and_sends_once",
        "an_exporter_killed_anywhere_while_nothing_reaches_the_partner_uses_no_number_up",
        "an_exporter_killed_anywhere_with_nothing_to_send_forgets_the_failures",
    ),
    _row("a reader of an inbox", "a_reader_killed_anywhere_applies_what_the_partner_answers_once"),
    _row(
        "an operator: resends, resends in vain, releases, reprocesses, repairs and requeues",
        "an_operator_killed_anywhere_sends_the_same_bytes_again",
        "an_operator_killed_anywhere_while_sending_in_vain_leaves_an_interchange_that_is_sent_in_the_end",
        "an_operator_killed_anywhere_frees_an_order_once",
        "an_operator_killed_anywhere_can_reprocess_the_rest",
        "an_operator_killed_anywhere_puts_a_repaired_dead_letter_back_and_it_is_taken_once",
    ),
    _row("a load of orders", "a_load_killed_anywhere_and_given_again_loads_the_rest"),
)

TABLES = {
    "interleavings": ("| | race | interleavings |\n|---|---|---|", INTERLEAVINGS),
    "crashes": ("| what is killed | crashes |\n|---|---|", CRASHES),
}


def table(kind: str, recorded: Mapping[str, int], not_all: Sequence[str] = ()) -> str:
    """Returns a table of what each test, by its name and the ids of its parameters, has recorded."""
    head, rows = TABLES[kind]
    lines = [f"| {row.what} | {_numbers(row, recorded, not_all)} |" for row in rows]
    named = {test for row in rows for test in row.tests}
    total = sum(number for test, number in recorded.items() if test.partition("[")[0] in named)
    together = "| " * (head.count("---") - 2) + f"| **together** | **{total:,}** |"
    return "\n".join((head, *lines, together))


def _numbers(row: Row, recorded: Mapping[str, int], not_all: Sequence[str]) -> str:
    ran = [one for test in row.tests for one in sorted(recorded) if one.partition("[")[0] == test]
    if missing := set(row.tests) - {one.partition("[")[0] for one in ran}:
        raise ValueError(f"not recorded: {', '.join(sorted(missing))}")
    return " + ".join(f"{recorded[one]:,}{f' ({NOT_ALL})' if one in not_all else ''}" for one in ran)


def documented(kind: str, text: str) -> str:
    """Returns the table that a text has between its marks."""
    return _between_marks(kind, text)[1]


def write(kind: str, made: str, file: Path = GUARANTEES) -> None:
    """Puts a table in the place of the one that the file has."""
    text = file.read_text()
    start, end = _between_marks(kind, text).span(1)
    file.write_text(text[:start] + made + text[end:])


def _between_marks(kind: str, text: str) -> re.Match[str]:
    found = re.search(rf"<!-- {kind}: .*? -->\n\n(.*?)\n\n<!-- end of {kind} -->", text, re.DOTALL)
    if found is None:
        raise ValueError(f"there is no table of {kind}")
    return found
