"""What a server's answers mean, and that nonsense differs from a refusal: what answers need not be a server."""

from struct import pack

import pytest

from edi.transports.sftp_packets import Code, Lost, Packet, Refused, SessionError, Unsent, string
from edi.transports.sftp_session import Session

GREETING = pack(">BI", Packet.VERSION, 3)
OK = pack(">I", Code.OK) + string(b"") + string(b"")
HANDLE = (Packet.HANDLE, string(b"h"))


class Script:
    """A channel on which these packets come, whatever is sent."""

    def __init__(self, *packets: bytes) -> None:
        self.coming = b"".join(string(packet) for packet in packets)
        self.sent: list[bytes] = []
        self.is_open = True

    def sendall(self, data: bytes) -> None:
        if not self.is_open:
            raise OSError("Socket is closed")
        self.sent.append(data)

    def recv(self, size: int) -> bytes:
        # Little by little, as a network may.
        some, self.coming = self.coming[: min(size, 7)], self.coming[min(size, 7) :]
        return some


def session(*answers: tuple[Packet, bytes]) -> Session:
    """A session in which these are the answers to the first request, the second …"""
    numbered = [pack(">BI", kind, number) + rest for number, (kind, rest) in enumerate(answers, 1)]
    return Session(Script(GREETING, *numbered))


def status(code: int, text: bytes = b"") -> tuple[Packet, bytes]:
    return Packet.STATUS, pack(">I", code) + string(text) + string(b"en")


def test_attributes_are_read_whatever_else_the_server_says() -> None:
    everything = pack(">IQIIIII", 0x8000_000F, 42, 1, 2, 0o100640, 3, 4) + pack(">I", 1) + string(b"a") + string(b"b")
    found = session((Packet.ATTRS, everything)).stat("x")
    assert found is not None
    assert (found.size, found.may_be_file, found.may_be_folder) == (42, True, False)


def test_attributes_that_say_nothing_exclude_nothing() -> None:
    found = session((Packet.ATTRS, pack(">I", 0))).stat("x")
    assert found is not None
    assert (found.size, found.may_be_file, found.may_be_folder) == (None, True, True)


def test_nothing_there_is_a_value_and_any_other_refusal_is_not() -> None:
    assert session(status(Code.NO_SUCH_FILE)).stat("x") is None
    with pytest.raises(Refused, match=r"the server says 'no\\x1b' \(code 3\)"):
        session(status(Code.PERMISSION_DENIED, b"no\x1b")).stat("x")


def test_a_refusal_without_a_text_is_one() -> None:
    with pytest.raises(Refused) as refused:
        session((Packet.STATUS, pack(">I", Code.FAILURE))).remove("x")
    assert refused.value.code == Code.FAILURE


def test_a_server_that_reads_nothing_for_ever_is_at_the_end() -> None:
    nothing = (Packet.DATA, string(b""))
    assert session(HANDLE, (Packet.DATA, string(b"abc")), nothing, (Packet.STATUS, OK)).read("x", 10) == b"abc"


def test_no_more_is_read_than_is_needed_to_see_that_it_is_too_much() -> None:
    assert session(HANDLE, (Packet.DATA, string(b"abc")), (Packet.STATUS, OK)).read("x", 2) == b"abc"


def test_an_error_at_closing_counts() -> None:
    with pytest.raises(Refused, match="disk full"):
        session(HANDLE, (Packet.STATUS, OK), status(Code.FAILURE, b"disk full")).write_new("x", b"content")


def test_an_error_at_writing_counts_more_than_one_at_closing() -> None:
    with pytest.raises(Refused, match="disk full"):
        session(HANDLE, status(Code.FAILURE, b"disk full"), status(Code.FAILURE, b"bad handle")).write_new("x", b"a")


def test_fsync_is_asked_for_where_it_is_offered() -> None:
    offer = string(b"x@example.org") + string(b"") + string(b"fsync@openssh.com") + string(b"1")
    answers = [pack(">BI", Packet.HANDLE, 1) + string(b"h")]
    answers += [pack(">BI", Packet.STATUS, number) + OK for number in (2, 3, 4)]
    script = Script(GREETING + offer, *answers)
    Session(script).write_new("x", b"content")
    assert [b"fsync@openssh.com" in sent for sent in script.sent] == [False, False, False, True, False]


@pytest.mark.parametrize(
    "answer",
    [
        (Packet.ATTRS, b""),
        (Packet.ATTRS, pack(">II", 1, 42)),
        (Packet.HANDLE, string(b"h")),
        (Packet.STATUS, OK),
        (Packet.STATUS, b""),
    ],
)
def test_an_answer_that_says_something_else_is_none(answer: tuple[Packet, bytes]) -> None:
    with pytest.raises(Lost):
        session(answer).stat("x")


def test_the_answer_to_another_request_is_none() -> None:
    late = Session(Script(GREETING, pack(">BI", Packet.STATUS, 7) + OK))
    with pytest.raises(Lost, match="found the answer to request 7, expected the one to 1"):
        late.rename("a", "b")


@pytest.mark.parametrize("garbage", [b"", b"HTTP/1.1 400 Bad Request", b"\0\0\0\0", b"\0\0\0\5\1\0\0\0\3"])
def test_what_does_not_speak_sftp_is_reported(garbage: bytes) -> None:
    script = Script()
    script.coming = garbage
    with pytest.raises(Lost):
        Session(script)


def test_a_request_that_did_not_leave_is_reported_from_an_answer_that_did_not_come() -> None:
    script = Script(GREETING)
    talk = Session(script)
    with pytest.raises(Lost, match="the connection ended"):
        talk.rename("a", "b")
    script.is_open = False
    with pytest.raises(Unsent, match="Socket is closed"):
        talk.rename("a", "b")
    assert issubclass(Lost, SessionError)
