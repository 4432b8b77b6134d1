"""An interchange released or sent again while its delivery is uncertain."""

from collections.abc import Callable
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from database.transactions import in_transaction
from edi import operator_actions
from edi.operator_actions import NotPossible
from edi.partners import Partner
from edi.transports.directory import DirectoryTransport
from tasks.export import iterate_export, release, resend
from tasks.receipts import read_inbox
from tests.acknowledgements import audited, claim, contrl, folder_of, let_the_lease_run_out, put
from tests.builders import an_order, load

pytestmark = pytest.mark.usefixtures("system")


def test_what_still_lies_where_the_partner_collects_it_is_not_released(partner: Partner) -> None:
    on_its_way = claim(partner)
    let_the_lease_run_out()
    partner.transport.put(on_its_way.filename, on_its_way.content)
    with pytest.raises(NotPossible, match="is still where NORTH collects it"):
        release(partner, 1, asked_the_partner=True)
    (folder_of(partner).folder / on_its_way.filename).unlink()
    assert release(partner, 1, asked_the_partner=True) == 1


def released_meanwhile(partner: Partner) -> Callable[..., None]:
    """A transport that stalls until an operator has released what it then delivers."""
    deliver = DirectoryTransport.put

    def put_late(transport: DirectoryTransport, filename: str, content: bytes) -> None:
        let_the_lease_run_out()
        in_transaction(lambda connection: operator_actions.release(connection, partner, 1, asked_the_partner=True))
        deliver(transport, filename, content)

    return put_late


def test_a_delivery_after_the_release_is_an_error_in_the_log_and_a_warning_of_the_audit(partner: Partner) -> None:
    load(an_order())
    with patch.object(DirectoryTransport, "put", released_meanwhile(partner)), capture_logs() as logs:
        next(iterate_export(partner))
    assert [log["event"] for log in logs if log["log_level"] == "error"] == [
        "interchange delivered after its release: ask the partner, its orders may be sent twice"
    ]
    [warning] = audited()["warnings"]
    assert warning.startswith("interchange 1 of NORTH was delivered after its release")


def test_an_operator_whose_copy_is_overtaken_by_a_release_is_told_so(partner: Partner) -> None:
    claim(partner)
    let_the_lease_run_out()
    with (
        patch.object(DirectoryTransport, "put", released_meanwhile(partner)),
        pytest.raises(NotPossible, match="was released while it was being sent, and was delivered"),
    ):
        resend(partner, 1)
    assert len(audited()["warnings"]) == 1


def test_an_answer_that_comes_before_our_own_confirmation_is_no_failure(partner: Partner) -> None:
    load(an_order())
    deliver = DirectoryTransport.put

    def put_and_be_answered(transport: DirectoryTransport, filename: str, content: bytes) -> None:
        deliver(transport, filename, content)
        put(partner, "a.edi", contrl(1))
        read_inbox(partner)

    with patch.object(DirectoryTransport, "put", put_and_be_answered):
        step = next(iterate_export(partner))
    assert (step.state, step.error) == ("acknowledged", None)
