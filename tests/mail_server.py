"""A real mail server on a free port of this machine, which does to its client what a test asks for."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "countermand", "correct horse"

# Instead of a reply: the connection is gone, or nothing comes for as long as anyone waits.
DROPS, HANGS = "drops", "hangs"

# Made up, self-signed, for 127.0.0.1 alone, until 2120; nobody trusts it but a test that says so.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgK2ZCJFSLP/3LCOmQ
Tgyl09wIjaO6f9bwzLLb3O0EWG2hRANCAASyS59a36HR2yM5cVu5PhZTf/GbVgpY
t4rJCcWt9LjU+zuJxlZV9TtffwpiHtQPvHGb6RKniQiC7ePAHi+ipDL1
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBrzCCAVWgAwIBAgIBATAKBggqhkjOPQQDAjAlMSMwIQYDVQQDDBphIG1haWwg
c2VydmVyIG9mIHRoZSB0ZXN0czAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAw
MDAwMFowJTEjMCEGA1UEAwwaYSBtYWlsIHNlcnZlciBvZiB0aGUgdGVzdHMwWTAT
BgcqhkjOPQIBBggqhkjOPQMBBwNCAASyS59a36HR2yM5cVu5PhZTf/GbVgpYt4rJ
CcWt9LjU+zuJxlZV9TtffwpiHtQPvHGb6RKniQiC7ePAHi+ipDL1o3QwcjAPBgNV
HREECDAGhwR/AAABMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgKEMB0G
A1UdDgQWBBSopywn+fcvmTba6rkU9OzElCqmyzAfBgNVHSMEGDAWgBSopywn+fcv
mTba6rkU9OzElCqmyzAKBggqhkjOPQQDAgNIADBFAiBqxTMuVgsbCHdFJQtiisL7
0g39y7lqb0TTdfAmASLezQIhAJJuIgcdJWGbFm2hmdH6scDmdk5pqEjdis2SbU8a
45v3
-----END CERTIFICATE-----
"""


@dataclass(frozen=True)
class Mail:
    """A mail that has arrived: its envelope, its bytes, and how its sender came."""

    sender: str | None
    recipients: list[str]
    raw: bytes
    user: str | None
    encrypted: bool

    @property
    def message(self) -> EmailMessage:
        message = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(message, EmailMessage)
        return message

    @property
    def text(self) -> str:
        return "\n".join(self.message.get_content().splitlines())


class MailServer:
    """What has arrived, who tried to log in, and what is replied to MAIL, RCPT and DATA instead of 250."""

    def __init__(self, listening: socket.socket) -> None:
        self.port: int = listening.getsockname()[1]
        self.mails: list[Mail] = []
        self.logins: list[str] = []
        self.replies: dict[str, str] = {}

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's name, and the next two
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return await self._reply("MAIL", server)

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return await self._reply("RCPT", server)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        # A server that hangs up or falls silent here has taken the mail.
        if self.replies.get("DATA", "250")[0] not in "45":
            assert isinstance(envelope.content, bytes)
            user = self.logins[-1] if session.authenticated else None
            encrypted = _way_to(server).get_extra_info("sslcontext") is not None
            self.mails.append(Mail(envelope.mail_from, list(envelope.rcpt_tos), envelope.content, user, encrypted))
        return await self._reply("DATA", server)

    def log_in(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any) -> AuthResult:
        """Answers AUTH."""
        self.logins.append(login.login.decode())
        is_right = login == LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=is_right, handled=False, auth_data=login)

    async def _reply(self, command: str, server: SMTP) -> str:
        reply = self.replies.get(command, "250 OK")
        if reply == HANGS:
            await asyncio.Event().wait()
        if reply == DROPS:
            _way_to(server).abort()
        return reply


def _way_to(server: SMTP) -> asyncio.Transport:
    assert isinstance(server.transport, asyncio.Transport)
    return server.transport


class _OnASocket(Controller):
    """On a socket that listens already: nobody else can take the port in between."""

    def __init__(self, listening: socket.socket, handler: MailServer, **settings: Any) -> None:
        super().__init__(handler, "127.0.0.1", handler.port, **settings)
        self._listening = listening

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self._listening, ssl=self.ssl_context)


@contextmanager
def mail_server(folder: Path, security: str = "none", **settings: Any) -> Iterator[MailServer]:
    """A mail server that takes mail with a login and without one; `security` is none, starttls or tls."""
    context = None
    if security != "none":
        (folder / "certificate.pem").write_text(CERTIFICATE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "certificate.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        handler = MailServer(listening)
        controller = _OnASocket(
            listening,
            handler,
            ssl_context=context if security == "tls" else None,
            tls_context=context if security == "starttls" else None,
            auth_require_tls=security == "starttls",
            authenticator=handler.log_in,
            server_hostname="mail.test",
            **settings,
        )
        controller.start()
        try:
            yield handler
        finally:
            controller.stop()
