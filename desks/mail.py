"""Mail by SMTP, for decisions that no ticket can carry."""

import smtplib
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from hashlib import sha256
from typing import Any

from configuration import ConfigurationError, secret
from delivery.outcomes import NotDelivered, OutcomeUnknown, Refused
from desks.channels import MAX_CONNECT_SECONDS, MAX_SECONDS
from desks.config import MailConfig, mail_address
from desks.notices import Notice, Visibility

# The server is shutting down; it may reply this to any command.
_CLOSING = 421


class _InTime(smtplib.SMTP):
    """A connection that limits all replies together to MAX_SECONDS, because a mail takes ten of them."""

    def __init__(self, host: str, port: int, *, timeout: float, **how: Any) -> None:
        self._patience, self._deadline = timeout, time.monotonic() + MAX_SECONDS
        super().__init__(host, port, timeout=min(timeout, MAX_CONNECT_SECONDS), **how)

    def getreply(self) -> tuple[int, bytes]:
        left = self._deadline - time.monotonic()
        if left <= 0:
            self.close()
            raise smtplib.SMTPServerDisconnected("no time was left for a reply")
        assert self.sock is not None  # noqa: S101  # for the type checker
        self.sock.settimeout(min(self._patience, left))
        return super().getreply()


class _InTimeByTls(_InTime, smtplib.SMTP_SSL):
    """The same with TLS from the first byte."""


class MailChannel:
    """Sends one mail per notice, to the customer or to the store's own people."""

    name = destination = "mail"

    def __init__(self, config: MailConfig, environ: Mapping[str, str]) -> None:
        """Reads the password from the environment. Raises ConfigurationError if it is missing."""
        self._config = config
        self._password = secret(environ, config.password)
        if config.password and not self._password:
            raise ConfigurationError(f"mail: {config.password} must be set in the environment")

    def deliver(self, notice: Notice, *, customer: str, look_first: bool) -> None:
        """Sends the mail. Raises DeliveryError.

        We cannot look into the reader's mailbox, so after an unknown outcome the mail is sent again, with the same
        Message-ID, by which mail programs recognise the repeat.
        """
        mail = self._mail(notice, customer if notice.visibility is Visibility.PUBLIC else self._config.colleagues)
        with self._connected() as server:
            _send(server, mail)

    def _mail(self, notice: Notice, recipient: str) -> EmailMessage:
        mail = EmailMessage()
        try:
            mail["To"] = Address(addr_spec=mail_address(recipient))
        except ValueError:
            raise Refused("the customer's e-mail address is not valid") from None
        mail["From"] = Address(addr_spec=self._config.sender)
        # An order number that looks like an encoded word (RFC 2047) would be decoded, line breaks included.
        mail["Subject"] = notice.subject.replace("=?", "= ?")
        mail["Date"] = formatdate(usegmt=True)
        domain = self._config.sender.rpartition("@")[2]
        mail["Message-ID"] = f"<{sha256(notice.mark.encode()).hexdigest()}@{domain}>"
        # RFC 3834: out-of-office programs must not reply.
        mail["Auto-Submitted"] = "auto-replied"
        # Otherwise short lines would be sent as 8 bits, which not every mail server accepts.
        mail.set_content(notice.signed_body, cte="quoted-printable")
        return mail

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        """Connects and logs in; if this fails, nothing has been sent."""
        config, secured = self._config, ssl.create_default_context()
        try:
            server = (
                _InTimeByTls(config.host, config.port, timeout=config.timeout_seconds, context=secured)
                if config.security == "tls"
                else _InTime(config.host, config.port, timeout=config.timeout_seconds)
            )
        # A host name or password that cannot be encoded raises UnicodeError.
        except (OSError, UnicodeError, smtplib.SMTPException) as error:
            raise NotDelivered(f"no connection to the mail server {config.host} ({type(error).__name__})") from error
        try:
            try:
                if config.security == "starttls":
                    server.starttls(context=secured)
                if config.user is not None:
                    server.login(config.user, self._password or "")
            except (OSError, UnicodeError, smtplib.SMTPException) as error:
                problem = f"the mail server {config.host} did not accept the login ({type(error).__name__})"
                raise NotDelivered(problem) from error
            yield server
        finally:
            server.close()


def _send(server: smtplib.SMTP, mail: EmailMessage) -> None:
    try:
        server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as refused:
        code = max((code for code, _ in refused.recipients.values()), default=0)
        raise _by_code(code, "the recipient", is_recipients=True) from None
    except smtplib.SMTPSenderRefused as refused:
        # The sender is the same for every mail. Somebody will correct it, so this is not final.
        raise NotDelivered(f"the mail server refused the sender ({refused.smtp_code})") from None
    except smtplib.SMTPDataError as refused:
        raise _by_code(refused.smtp_code, "the mail") from None
    except smtplib.SMTPNotSupportedError:
        raise Refused("the mail server cannot send to an address with non-ASCII letters") from None
    except (OSError, smtplib.SMTPException) as error:
        raise OutcomeUnknown(f"the mail server did not answer ({type(error).__name__})") from None


def _by_code(code: int, what: str, *, is_recipients: bool = False) -> NotDelivered | Refused:
    """5xx is final, the rest temporary (RFC 5321, 4.2.1); a refused recipient does not affect others."""
    message = f"the mail server refused {what} ({code})"
    if 500 <= code < 600:
        return Refused(message)
    return NotDelivered(message, destination_works=is_recipients and code != _CLOSING)
