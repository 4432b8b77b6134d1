"""Mail by SMTP: how a decision is told when there is no ticket to write on."""

import smtplib
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from hashlib import sha256

from configuration import ConfigurationError, secret
from desks.channels import NotDelivered, Refused, Unclear
from desks.config import MailConfig
from desks.notices import Notice, Visibility


class MailChannel:
    """Sends one mail a notice: to the customer, or to the store's own people."""

    name = outlet = "mail"

    def __init__(self, config: MailConfig, environ: Mapping[str, str]) -> None:
        """Takes the password out of the environment. Raises ConfigurationError if it is missing."""
        self._config = config
        self._password = secret(environ, config.password)
        if config.password and not self._password:
            raise ConfigurationError(f"mail: {config.password} must be set in the environment")

    def deliver(self, notice: Notice, *, customer: str, look_first: bool) -> None:
        """Sends the mail. Raises DeliveryError.

        Nobody can look into the reader's mailbox: after an unclear try the mail is sent again, with the same
        Message-ID, by which mail programs know it for the same.
        """
        mail = self._mail(notice, customer if notice.visibility is Visibility.PUBLIC else self._config.colleagues)
        with self._connected() as server:
            _send(server, mail)

    def _mail(self, notice: Notice, recipient: str) -> EmailMessage:
        mail = EmailMessage()
        try:
            mail["To"] = Address(addr_spec=recipient)
        except (MessageError, ValueError, IndexError):
            raise Refused("the customer's e-mail address is not one that a mail can be sent to") from None
        mail["From"] = Address(addr_spec=self._config.sender)
        mail["Subject"] = notice.subject
        mail["Date"] = formatdate(usegmt=True)
        domain = self._config.sender.rpartition("@")[2]
        mail["Message-ID"] = f"<{sha256(notice.mark.encode()).hexdigest()}@{domain}>"
        # RFC 3834: nobody's out-of-office program shall answer an answer.
        mail["Auto-Submitted"] = "auto-replied"
        mail.set_content(notice.signed_body)
        return mail

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        """Connects and logs in; whatever fails here has sent nothing."""
        config, secured = self._config, ssl.create_default_context()
        try:
            server = (
                smtplib.SMTP_SSL(config.host, config.port, timeout=config.timeout_seconds, context=secured)
                if config.security == "tls"
                else smtplib.SMTP(config.host, config.port, timeout=config.timeout_seconds)
            )
        except (OSError, smtplib.SMTPException) as error:
            raise NotDelivered(f"no connection to the mail server {config.host} ({type(error).__name__})") from error
        try:
            try:
                if config.security == "starttls":
                    server.starttls(context=secured)
                if config.user is not None:
                    server.login(config.user, self._password or "")
            except (OSError, smtplib.SMTPException) as error:
                raise NotDelivered(f"the mail server {config.host} took no login ({type(error).__name__})") from error
            yield server
        finally:
            server.close()


def _send(server: smtplib.SMTP, mail: EmailMessage) -> None:
    try:
        server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as refused:
        code = max((code for code, _ in refused.recipients.values()), default=0)
        raise _by_code(code, "the recipient") from None
    except smtplib.SMTPSenderRefused as refused:
        raise _by_code(refused.smtp_code, "the sender") from None
    except smtplib.SMTPDataError as refused:
        raise _by_code(refused.smtp_code, "the mail") from None
    except smtplib.SMTPNotSupportedError:
        raise Refused("the mail server cannot send to an address with letters beyond ASCII") from None
    except (OSError, smtplib.SMTPException) as error:
        raise Unclear(f"the mail server did not answer ({type(error).__name__})") from None


def _by_code(code: int, what: str) -> NotDelivered | Refused:
    """5xx is for good, anything else for now (RFC 5321, 4.2.1)."""
    told = f"the mail server refused {what} ({code})"
    return Refused(told) if 500 <= code < 600 else NotDelivered(told)
