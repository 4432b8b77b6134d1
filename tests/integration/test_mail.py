"""Answers by mail: from a request without a ticket to a real mail server's mailbox, whatever that server does."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from configuration.settings import settings
from database.transactions import in_transaction
from delivery.outcomes import DeliveryError, NotDelivered, Refused
from desks.config import MailConfig
from desks.mail import MailChannel
from desks.notices import Notice, Visibility, write_notice
from desks.texts import OUR_TEXTS
from orders import answers
from rules.model import Outcome, Reason
from tasks.answers import answer_one
from tasks.helpdesks import helpdesks, store_texts
from tasks.running.wakeups import WakeUp
from tests.builders import EMAIL, a_request, an_address, an_order, deliver, load, rows, settle
from tests.mail_server import DROPS, HANGS, PASSWORD, USER, MailServer, mail_server

SENDER, COLLEAGUES = "help@acme.example", "support@acme.example"
# Gives up quickly on a server that hangs, and yet not on one that is only slow.
IMPATIENT = 0.5
PATIENCE_SECONDS = 30.0

Configure = Callable[..., None]
NO_ADDRESSES = [
    "",
    "jane",
    "jane@",
    "@example.com",
    "jane@example.com, john@example.com",
    "jane@example.com,john@example.com",
    "jane@example.com;john@example.com",
    "jane@example.com john@example.com",
    "Jane <jane@example.com>",
    "<jane@example.com>",
    "jane@example.com> SIZE=1 <john@example.com",
    "jane@example.com (john@example.com)",
    "jane(john)@example.com",
    "jane @example.com",
    "friends:jane@example.com;",
    "jane@example.com\u2028Bcc: john@example.com",
    "=?utf-8?q?jane=40example=2Ecom=2C?=john@example.com",
    "jane@=?utf-8?q?example=2Ecom?=",
    "jane@example.com@example.com",
]
# No order has them: control characters are refused when an order is loaded.
INJECTIONS = [f"jane@example.com{end}Bcc: john@example.com" for end in ("\n", "\r", "\r\n", "\n ", "\0")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    with mail_server(tmp_path) as running:
        yield running


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The wake-ups that were sent; nobody receives them."""
    sent: list[str] = []
    monkeypatch.setattr(
        "tasks.running.wakeups.current_app", SimpleNamespace(send_task=lambda name, **_: sent.append(name))
    )
    return sent


@pytest.fixture
def configure(system: object, woken: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Writes the desks file: mail by this port, and perhaps a desk."""

    def write(port: int, desk: dict[str, str] | None = None, **changes: Any) -> None:
        mail = {"host": "127.0.0.1", "port": port, "security": "none", "sender": SENDER, "colleagues": COLLEAGUES}
        tables = {"mail": {**mail, **changes}, **({"desks.zendesk": desk} if desk else {})}
        # Texts and numbers are the same in TOML as in JSON.
        lines = [
            line
            for name, table in tables.items()
            for line in (f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items()))
        ]
        file = tmp_path / "desks.toml"
        file.write_text("\n".join(lines))
        monkeypatch.setenv("COUNTERMAND_DESKS", str(file))
        monkeypatch.setenv("SECRET", "x")
        settings.cache_clear()
        helpdesks.cache_clear()
        store_texts.cache_clear()

    yield write
    settings.cache_clear()
    helpdesks.cache_clear()
    store_texts.cache_clear()


def asked(order: str = "1001", **changes: Any) -> dict[str, Any]:
    """Loads an order, decides a request for it that has no ticket, and puts the decision into words."""
    load(an_order(order))
    event = a_request(order, **{"ticket": None, **changes})
    deliver(event)
    settle()
    return event


def answer(event: dict[str, Any]) -> Any:
    """Returns where the telling of a request stands."""
    (row,) = rows(
        "SELECT e.state, e.attempts, e.error, n.state AS delivery_state,"
        " e.not_before > now() AS waits, e.not_before > now() + '10 s' AS waits_long,"
        " n.channel, n.visibility, n.subject, n.body"
        " FROM effect e JOIN change_request r ON r.id = e.change_request_id"
        " JOIN notification n ON n.change_request_id = r.id"
        " WHERE e.kind = 'notify' AND (r.source, r.external_id) = (:source, :id)",
        source=event["source"],
        id=event["id"],
    )
    return row


def resting() -> list[str]:
    return [row.name for row in rows("SELECT name FROM destination WHERE not_before > now()")]


def time_passes() -> None:
    rows("UPDATE effect SET not_before = now() WHERE state = 'pending' RETURNING id")
    rows("UPDATE destination SET failures = 0, not_before = NULL, error = NULL RETURNING name")


def a_notice(**changes: Any) -> Notice:
    fact = {"source": "shop", "request_id": "7", "ticket": None, "order": "1001", "outcome": Outcome.APPLIED}
    return write_notice(**{**fact, "reasons": [Reason.ORDER_CANCELLED], **changes})


def channel(server: MailServer, **changes: Any) -> MailChannel:
    config = {"host": "127.0.0.1", "port": server.port, "security": "none", "sender": SENDER, "colleagues": COLLEAGUES}
    return MailChannel(MailConfig(**{**config, **changes}), {})


# Who reads what


def test_a_decision_without_a_ticket_is_mailed_to_the_customer_once(
    server: MailServer, configure: Configure, woken: list[str]
) -> None:
    configure(server.port)
    event = asked()
    assert answer(event)[:2] == ("pending", 0)
    assert woken[-1] == WakeUp.ANSWER
    assert answer_one()
    assert not answer_one()
    reported = answer(event)
    assert (reported.state, reported.channel, reported.visibility, reported.delivery_state, reported.error) == (
        "done",
        "mail",
        "public",
        "sent",
        None,
    )
    (mail,) = server.mails
    assert (mail.sender, mail.recipients) == (SENDER, [EMAIL])
    message = mail.message
    assert (message["From"], message["To"]) == (SENDER, EMAIL)
    assert message["Subject"] == reported.subject == "Your request for order 1001: done"
    assert re.fullmatch(r"<[0-9a-f]{64}@acme\.example>", message["Message-ID"])
    assert message["Auto-Submitted"] == "auto-replied"
    assert parsedate_to_datetime(message["Date"]).tzinfo is not None
    assert message.get_content_type() == "text/plain"
    assert mail.text == f"{reported.body}\n\n[countermand:zendesk:acme/{event['id']}]"
    assert reported.body.split("\n\n") == [
        "Hello Jane Doe,",
        "You asked us to cancel order 1001.",
        OUR_TEXTS.render("en", Reason.ORDER_CANCELLED),
        "Kind regards,\nCustomer service",
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "partial_cancel", "lines": [{"sku": "RED-1", "quantity": 1}]}, "partial_cancellation"),
        ({"requester": "stranger@example.com"}, "requester_is_not_the_customer"),
        ({"requester": ""}, "requester_is_not_the_customer"),
    ],
    ids=["partial", "stranger", "nobody"],
)
def test_what_is_escalated_is_mailed_to_colleagues_who_read_who_has_asked_and_not_whose_order_it_is(
    server: MailServer, configure: Configure, changes: dict[str, Any], reason: str
) -> None:
    configure(server.port)
    event = asked(**changes)
    assert answer_one()
    assert not answer_one()
    reported = answer(event)
    assert (reported.state, reported.visibility) == ("done", "internal")
    (mail,) = server.mails
    assert (mail.recipients, mail.message["To"]) == ([COLLEAGUES], COLLEAGUES)
    assert f"Reason code: {reason}" in mail.text
    assert f"Asked by: {event['data']['requester'] or 'not known'}" in mail.text
    assert (EMAIL in mail.text) == (event["data"]["requester"] == EMAIL)
    assert "until 2" in mail.text


def test_a_customer_reads_italian_with_all_its_accents_by_a_mail_of_ascii_alone(
    server: MailServer, configure: Configure
) -> None:
    configure(server.port)
    # A long text with long lines, and a short one.
    events = [
        asked("Nº-è1", kind="change_items", language="it-CH"),
        asked("Nº-è2", kind="change_address", language="it", addresses={"shipping": an_address(city="Bonn")}),
    ]
    assert [answer_one() for _ in range(3)] == [True, True, False]
    assert all(mail.raw.isascii() for mail in server.mails)
    assert [mail.message["Subject"] for mail in server.mails] == [
        "La Sua richiesta per l'ordine Nº-è1: non realizzabile",
        "La Sua richiesta per l'ordine Nº-è2: eseguita",
    ]
    reasons = (Reason.ITEMS_ARE_FIXED, Reason.SHIPPING_ADDRESS_CHANGED)
    for mail, reason, event in zip(server.mails, reasons, events, strict=True):
        greeting, about, reported, signature, mark = mail.text.split("\n\n")
        assert (greeting, reported) == ("Gentile Jane Doe,", OUR_TEXTS.render("it", reason))
        assert event["data"]["order"] in about
        assert signature == "Cordiali saluti,\nIl servizio clienti"
        assert mark == f"[countermand:zendesk:acme/{event['id']}]"


DESK = {"source": "zendesk:acme", "webhook_secret": "SECRET"}


def test_a_request_whose_ticket_can_be_answered_gets_no_mail_not_even_when_its_desk_is_away(
    server: MailServer, configure: Configure
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    configure(server.port, {**DESK, "url": nobody, "user": "bot@acme.example", "token": "SECRET"})
    event = asked(ticket="88121")
    assert answer_one()
    reported = answer(event)
    assert (reported.channel, reported.state, reported.delivery_state) == ("ticket", "pending", "pending")
    assert rows("SELECT id FROM notification")[1:] == []
    assert server.mails == []


def test_a_request_whose_ticket_cannot_be_answered_gets_a_mail(server: MailServer, configure: Configure) -> None:
    configure(server.port, DESK)
    event = asked(ticket="88121")
    assert answer_one()
    assert (answer(event).channel, answer(event).state) == ("mail", "done")
    assert [mail.recipients for mail in server.mails] == [[EMAIL]]


def test_a_mail_without_a_ticket_waits_for_no_ticket_whose_answer_is_on_its_way(
    server: MailServer, configure: Configure
) -> None:
    configure(server.port, {**DESK, "url": "http://127.0.0.1:1", "user": "bot@acme.example", "token": "SECRET"})
    asked(ticket="88121")
    on_its_way = in_transaction(answers.lease)
    assert on_its_way is not None
    event = asked("1002")
    assert answer_one()
    assert (answer(event).channel, answer(event).state) == ("mail", "done")


# What the server says


@pytest.mark.parametrize(
    ("command", "reply", "what"),
    [
        ("MAIL", "451 4.3.0 Later", "the sender (451)"),
        # For good, says the server; but it is the sender that we have configured.
        ("MAIL", "550 5.7.1 Not your address", "the sender (550)"),
        ("RCPT", "450 4.2.1 Greylisted", "the recipient (450)"),
        ("RCPT", "452 4.2.2 Full", "the recipient (452)"),
        ("DATA", "451 4.3.0 Later", "the mail (451)"),
        ("DATA", "421 4.3.2 Closing", "the mail (421)"),
    ],
)
def test_a_refusal_for_now_is_tried_again_later(
    server: MailServer, configure: Configure, command: str, reply: str, what: str
) -> None:
    configure(server.port)
    server.replies[command] = reply
    event = asked()
    assert answer_one()
    reported = answer(event)
    assert (reported.state, reported.attempts, reported.delivery_state, reported.waits) == (
        "pending",
        1,
        "pending",
        True,
    )
    assert reported.error == f"the mail server refused {what}"
    # What is said of one recipient says nothing about the others.
    assert resting() == ([] if command == "RCPT" else ["mail"])
    assert not answer_one()
    server.replies.clear()
    time_passes()
    assert answer_one()
    assert (answer(event).state, answer(event).error, len(server.mails)) == ("done", None, 1)


@pytest.mark.parametrize(
    ("command", "reply", "what"),
    [
        ("RCPT", "550 5.1.1 Nobody of that name", "the recipient (550)"),
        ("DATA", "554 5.7.1 Not like this", "the mail (554)"),
    ],
)
def test_a_refusal_for_good_ends_it_at_once_and_the_next_mail_goes_out(
    server: MailServer, configure: Configure, command: str, reply: str, what: str
) -> None:
    configure(server.port)
    server.replies[command] = reply
    refused = asked()
    assert answer_one()
    reported = answer(refused)
    assert (reported.state, reported.attempts, reported.delivery_state) == ("dead", 1, "pending")
    assert reported.error == f"the mail server refused {what}"
    assert resting() == []
    server.replies.clear()
    asked("1002")
    time_passes()
    assert answer_one()
    assert not answer_one()
    assert [mail.message["Subject"] for mail in server.mails] == ["Your request for order 1002: done"]


def test_mails_wait_while_the_server_is_away_and_go_out_when_it_is_back(
    server: MailServer, configure: Configure
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    configure(nobody)
    events = [asked(), asked("1002")]
    assert answer_one()
    assert (answer(events[0]).state, answer(events[0]).delivery_state) == ("pending", "pending")
    assert answer(events[0]).error == "no connection to the mail server 127.0.0.1 (ConnectionRefusedError)"
    # The second one is due, and its destination backs off.
    assert not answer_one()
    assert (answer(events[1]).attempts, answer(events[1]).waits) == (0, False)
    assert resting() == ["mail"]
    configure(server.port)
    time_passes()
    assert [answer_one() for _ in range(3)] == [True, True, False]
    assert [answer(event).state for event in events] == ["done", "done"]
    assert rows("SELECT name FROM destination WHERE failures > 0") == []
    assert len(server.mails) == 2


def test_after_a_connection_that_was_dropped_the_mail_is_sent_again_and_is_known_by_its_id(
    server: MailServer, configure: Configure
) -> None:
    configure(server.port)
    server.replies["DATA"] = DROPS
    event = asked()
    assert answer_one()
    reported = answer(event)
    assert (reported.state, reported.delivery_state, reported.waits_long) == ("pending", "sending", True)
    assert reported.error == "the mail server did not answer (SMTPServerDisconnected)"
    server.replies.clear()
    time_passes()
    assert answer_one()
    assert (answer(event).state, answer(event).delivery_state) == ("done", "sent")
    first, second = server.mails
    assert first.message["Message-ID"] == second.message["Message-ID"]
    assert (first.recipients, first.text) == (second.recipients, second.text)


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
def test_a_server_that_falls_silent_is_left_after_a_while_and_tried_again(
    server: MailServer, configure: Configure, command: str
) -> None:
    configure(server.port, timeout_seconds=IMPATIENT)
    server.replies[command] = HANGS
    event = asked()
    assert answer_one()
    assert (answer(event).state, answer(event).delivery_state) == ("pending", "sending")
    assert answer(event).error == "the mail server did not answer (SMTPServerDisconnected)"
    server.replies.clear()
    time_passes()
    assert answer_one()
    assert answer(event).state == "done"
    assert len({mail.message["Message-ID"] for mail in server.mails}) == 1


@pytest.mark.parametrize("command", ["MAIL", "DATA"])
def test_a_server_that_falls_silent_is_left_when_the_time_of_an_answer_is_over_however_patient_the_file_is(
    server: MailServer, configure: Configure, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    configure(server.port, timeout_seconds=60)
    server.replies[command] = HANGS
    event = asked()
    monkeypatch.setattr("desks.mail.MAX_SECONDS", IMPATIENT)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(answer_one).result(PATIENCE_SECONDS) is True
    assert (answer(event).state, answer(event).delivery_state) == ("pending", "sending")


def test_a_server_that_never_greets_is_left_too_however_patient_the_file_is(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("desks.mail.MAX_SECONDS", IMPATIENT)
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as threads:
        configure(silent.getsockname()[1], timeout_seconds=60)
        event = asked()
        assert threads.submit(answer_one).result(PATIENCE_SECONDS) is True
    assert (answer(event).state, answer(event).delivery_state) == ("pending", "pending")


def test_a_mail_for_which_no_time_is_left_is_not_sent(
    server: MailServer, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(server.port)
    event = asked()
    with monkeypatch.context() as patched:
        patched.setattr("desks.mail.MAX_SECONDS", 0.0)
        assert answer_one()
    assert (answer(event).state, answer(event).delivery_state, server.mails) == ("pending", "pending", [])
    time_passes()
    assert answer_one()
    assert len(server.mails) == 1


def test_a_server_that_never_greets_has_not_got_the_mail(configure: Configure) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configure(silent.getsockname()[1], timeout_seconds=IMPATIENT)
        event = asked()
        assert answer_one()
    assert (answer(event).state, answer(event).delivery_state) == ("pending", "pending")
    assert answer(event).error == "no connection to the mail server 127.0.0.1 (SMTPServerDisconnected)"


def test_two_mails_have_two_ids(server: MailServer) -> None:
    for notice in (a_notice(), a_notice(request_id="8"), a_notice(source="shop/7")):
        channel(server).deliver(notice, customer=EMAIL, look_first=False)
    assert len({mail.message["Message-ID"] for mail in server.mails}) == 3


# Who we are, and who the server is


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the certificate of the test's server is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))


@pytest.mark.usefixtures("certificate")
@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_with_a_login_the_mail_goes_out_encrypted(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    with mail_server(tmp_path, security) as server:
        configure(server.port, security=security, user=USER, password="SMTP_PASSWORD")
        event = asked()
        assert answer_one()
    assert answer(event).state == "done"
    assert [(mail.encrypted, mail.user) for mail in server.mails] == [(True, USER)]


@pytest.mark.usefixtures("certificate")
@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize(
    ("password", "error"), [("wrong", "SMTPAuthenticationError"), ("pässword", "UnicodeEncodeError")]
)
def test_a_login_that_is_not_taken_is_tried_again_for_somebody_may_set_it_right(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str, password: str, error: str
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", password)
    with mail_server(tmp_path, security) as server:
        configure(server.port, security=security, user=USER, password="SMTP_PASSWORD")
        event = asked()
        assert answer_one()
        reported = answer(event)
        assert (reported.state, reported.delivery_state) == ("pending", "pending")
        assert reported.error == f"the mail server 127.0.0.1 did not accept the login ({error})"
        assert server.mails == []
        monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
        configure(server.port, security=security, user=USER, password="SMTP_PASSWORD")
        time_passes()
        assert answer_one()
    assert (answer(event).state, len(server.mails)) == ("done", 1)


@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize("is_trusted_for", [None, "127.0.0.1"], ids=["not trusted", "of another host"])
def test_nothing_is_told_to_a_server_that_does_not_prove_who_it_is(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    security: str,
    is_trusted_for: str | None,
) -> None:
    if is_trusted_for:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    with mail_server(tmp_path, security) as server:
        host = "localhost" if is_trusted_for else "127.0.0.1"
        configure(server.port, host=host, security=security, user=USER, password="SMTP_PASSWORD")
        event = asked()
        assert answer_one()
    assert (answer(event).state, answer(event).delivery_state) == ("pending", "pending")
    assert answer(event).error.endswith("(SSLCertVerificationError)")
    assert (server.mails, server.logins) == ([], [])


def test_a_server_without_starttls_gets_neither_login_nor_mail(
    server: MailServer, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    configure(server.port, security="starttls", user=USER, password="SMTP_PASSWORD")
    event = asked()
    assert answer_one()
    assert answer(event).error == "the mail server 127.0.0.1 did not accept the login (SMTPNotSupportedError)"
    assert (server.mails, server.logins) == ([], [])


@pytest.mark.parametrize("host", ["nowhere..example", "." * 3, "x" * 64])
def test_a_host_that_cannot_be_one_is_not_reached(server: MailServer, host: str) -> None:
    with pytest.raises(NotDelivered, match="no connection to the mail server"):
        channel(server, host=host).deliver(a_notice(), customer=EMAIL, look_first=False)


# Addresses


@pytest.mark.parametrize("address", [*NO_ADDRESSES, *INJECTIONS])
def test_what_is_not_one_address_is_refused_and_nothing_is_sent_to_anybody(server: MailServer, address: str) -> None:
    with pytest.raises(Refused, match=r"^the customer's e-mail address is not valid$"):
        channel(server).deliver(a_notice(), customer=address, look_first=False)
    assert server.mails == []


def test_an_order_with_no_address_to_write_to_has_its_answer_dead_at_once_and_the_next_goes_out(
    server: MailServer, configure: Configure
) -> None:
    configure(server.port)
    events = []
    for number, address in enumerate(address for address in NO_ADDRESSES if address):
        load(an_order(str(number), customer={"name": "Jane Doe", "email": address}))
        events.append(a_request(str(number), ticket=None, requester=address))
    deliver(*events)
    settle()
    last = asked()
    while answer_one():
        pass
    assert {(reported.state, reported.attempts, reported.error) for reported in map(answer, events)} == {
        ("dead", 1, "the customer's e-mail address is not valid")
    }
    assert (answer(last).state, [mail.recipients for mail in server.mails]) == ("done", [[EMAIL]])


def test_whatever_the_address_the_mail_reaches_that_one_or_nobody(server: MailServer) -> None:
    mailing = channel(server)

    @hypothesis.settings(deadline=None)
    @hypothesis.given(
        st.from_regex(r"[jane\"\\<>()@,;:. =?\[\]!%\t-]{1,12}@[a-c.,<>\" =?@-]{1,9}", fullmatch=True) | st.text()
    )
    def mail_to(address: str) -> None:
        server.mails.clear()
        try:
            mailing.deliver(a_notice(), customer=address, look_first=False)
        except DeliveryError:
            assert server.mails == []
        else:
            (mail,) = server.mails
            assert (mail.recipients, mail.message["Bcc"], mail.message["Cc"]) == ([address], None, None)

    mail_to()


def test_the_customers_address_is_of_no_interest_where_colleagues_read(server: MailServer) -> None:
    notice = a_notice(outcome=Outcome.ESCALATED, reasons=[Reason.PARTIAL_CANCELLATION])
    assert notice.visibility is Visibility.INTERNAL
    channel(server).deliver(notice, customer=INJECTIONS[0], look_first=False)
    assert [mail.recipients for mail in server.mails] == [[COLLEAGUES]]


@pytest.mark.parametrize("takes_utf_8", [True, False])
def test_an_address_beyond_ascii_gets_its_mail_by_a_server_that_can(tmp_path: Path, takes_utf_8: bool) -> None:
    customer = "jane@exämple.com"
    with mail_server(tmp_path, enable_SMTPUTF8=takes_utf_8) as server:
        if takes_utf_8:
            channel(server).deliver(a_notice(), customer=customer, look_first=False)
        else:
            with pytest.raises(Refused, match="non-ASCII letters"):
                channel(server).deliver(a_notice(), customer=customer, look_first=False)
    assert [mail.recipients for mail in server.mails] == ([[customer]] if takes_utf_8 else [])


@pytest.mark.parametrize(
    "number", ["=?utf-8?q?a=0D=0ABcc:_john=40example.com=0D=0A=0D=0AHi?=", "=?utf-8?b?DQpCY2M6IHg=?="]
)
def test_an_orders_number_puts_no_line_into_a_mail(server: MailServer, number: str) -> None:
    channel(server).deliver(a_notice(order=number), customer=EMAIL, look_first=False)
    (mail,) = server.mails
    assert mail.message.keys() == [
        *("To", "From", "Subject", "Date", "Message-ID", "Auto-Submitted"),
        *("Content-Type", "Content-Transfer-Encoding", "MIME-Version"),
    ]
    assert mail.text == a_notice(order=number).signed_body
