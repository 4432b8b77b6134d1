"""The desks file: what it may say, how every mistake in it is reported, and which way out a request gets."""

import gc
import importlib
import re
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

import desks
from configuration import ConfigurationError
from desks.registry import Helpdesks, kinds, open_desks
from tests.deliveries import TABLES

SECRET = "sk-live-9f8a7b6c5d"  # stands wherever a secret could be pasted by mistake; no message may quote it
WHSEC = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
ENVIRON = {"WEBHOOK": "w-" + SECRET, "PREVIOUS": "p-" + SECRET, "API": "a-" + SECRET, "WHSEC": WHSEC}

ANSWERING = """
[desks.zendesk]
source = "zendesk:acme"
webhook_secret = "WEBHOOK"
url = "https://acme.zendesk.com/"
user = "countermand@acme.example"
token = "API"
"""
LISTENING = """
[desks.zammad]
source = "zammad:acme"
webhook_secret = "WEBHOOK"
"""
MAIL = """
[mail]
host = "smtp.acme.example"
sender = "help@acme.example"
colleagues = "support@acme.example"
"""
STANDARD = """
[desks.standard]
source = "shop"
webhook_secret = "WHSEC"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "desks.toml"


def opened(file: Path, text: str, **environ: str) -> Helpdesks:
    file.write_text(text, "utf-8")
    return open_desks(file, {**ENVIRON, **environ})


def notified(file: Path, **environ: str) -> str:
    """Returns the one line that a file is refused with; it quotes no secret."""
    with pytest.raises(ConfigurationError) as error:
        open_desks(file, {**ENVIRON, **environ})
    line = str(error.value)
    assert len(line.splitlines()) == 1
    assert SECRET not in line
    return line


# Good files


def test_no_file_is_no_desks() -> None:
    assert open_desks(None, {}) == Helpdesks()


def test_an_empty_file_is_no_desks(file: Path) -> None:
    assert opened(file, "") == Helpdesks()


def test_a_file_says_which_desks_there_are_where_mail_leaves_and_where_we_are(file: Path) -> None:
    found = opened(file, f'public_url = "https://countermand.acme.example/"\n{ANSWERING}{LISTENING}{MAIL}')
    assert [(name, desk.kind, desk.source) for name, desk in found.desks.items()] == [
        ("zendesk", "zendesk", "zendesk:acme"),
        ("zammad", "zammad", "zammad:acme"),
    ]
    assert found.answering() == ["zendesk:acme"]
    assert found.mail is not None
    assert found.public_url == "https://countermand.acme.example"
    zendesk = found.desks["zendesk"]
    assert (zendesk.config.url, zendesk.secrets, zendesk.token) == (
        "https://acme.zendesk.com",
        [ENVIRON["WEBHOOK"]],
        ENVIRON["API"],
    )


def test_the_shop_that_signs_is_named_above_the_tables(file: Path) -> None:
    assert opened(file, f'shop = "Acme & Söhne"\n{LISTENING}').shop == "Acme & Söhne"
    assert opened(file, LISTENING).shop is None


def test_two_accounts_of_one_kind_are_two_tables_with_two_sources(file: Path) -> None:
    other = LISTENING.replace("desks.zammad", "desks.zammad-2").replace(":acme", ":other") + 'desk = "zammad"\n'
    found = opened(file, LISTENING + other)
    assert [(desk.kind, desk.source) for desk in found.desks.values()] == [
        ("zammad", "zammad:acme"),
        ("zammad", "zammad:other"),
    ]


def test_the_file_is_utf_8_whatever_the_locale_says(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda _=True: "latin-1")
    monkeypatch.setattr("_locale.getencoding", lambda: "latin-1", raising=False)
    text = LISTENING.replace("zammad:acme", "zammad:Köln")
    assert opened(file, text).desks["zammad"].source == "zammad:Köln"


def test_the_example_of_the_documentation_is_a_good_file_with_every_kind_of_desk(file: Path) -> None:
    page = Path(__file__).parents[2].joinpath("docs", "desks.md").read_text("utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    variables = dict.fromkeys(re.findall(r'"([A-Z_]{4,})"', example), WHSEC)
    found = opened(file, example, **variables)
    assert {desk.kind for desk in found.desks.values()} == kinds().keys()
    assert found.answering() == [desk.source for desk in found.desks.values()]
    assert found.mail is not None


@pytest.mark.parametrize(
    ("environ", "secrets"),
    [
        ({}, [ENVIRON["WEBHOOK"], ENVIRON["PREVIOUS"]]),
        ({"PREVIOUS": ""}, [ENVIRON["WEBHOOK"]]),
    ],
    ids=["while it lasts", "when it is over"],
)
def test_a_rotated_secret_is_known_beside_the_new_one_until_its_variable_is_empty(
    file: Path, environ: dict[str, str], secrets: list[str]
) -> None:
    text = LISTENING + 'webhook_secret_previous = "PREVIOUS"'
    assert opened(file, text, **environ).desks["zammad"].secrets == secrets


# Files that cannot be read


def test_a_missing_file_and_a_folder_are_reported_by_their_names(file: Path) -> None:
    assert notified(file) == f"the desks file {file} cannot be read: No such file or directory"
    file.mkdir()
    assert notified(file) == f"the desks file {file} cannot be read: Is a directory"


@pytest.mark.parametrize(
    "content",
    [
        b"[desks.zendesk",
        f'token = "{SECRET}'.encode(),
        f"token = {SECRET}".encode(),
        f'token = "{SECRET}"\ntoken = "{SECRET}"'.encode(),
        b'source = "\xff"',
        b"\x00",
        f'{{"token": "{SECRET}"}}'.encode(),
    ],
)
def test_a_file_that_is_not_toml_is_reported_by_its_name(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert notified(file).startswith(f"the desks file {file} is not TOML: ")


# Files that say what they must not

ZENDESK_ADDRESS = '"countermand@acme.example"'
MISTAKES = {
    # Where it is reported, and the file.
    "a table that we do not know": ("desk", f'[desk.zendesk]\nsource = "{SECRET}"'),
    "a key that we do not know": ("desks.zendesk.sauce", ANSWERING + f'sauce = "{SECRET}"'),
    "a key of another kind of desk": ("desks.zammad.account", LISTENING + "account = 1"),
    "no table at all": ("desks.zendesk", f'[desks]\nzendesk = "{SECRET}"'),
    "desks that are no table": ("desks", f'desks = "{SECRET}"'),
    "an unknown kind": ("desks.zendsk", ANSWERING.replace("desks.zendesk", "desks.zendsk")),
    "an unknown kind by its key": ("desks.zendesk", ANSWERING + 'desk = "zendsk"'),
    "a kind that is a number": ("desks.zendesk", ANSWERING + "desk = 7"),
    "a kind that is a list": ("desks.zendesk", ANSWERING + 'desk = ["zendesk"]'),
    "a name with capitals": ("desks.Zendesk", ANSWERING.replace("desks.zendesk", "desks.Zendesk")),
    "no source": ("desks.zammad.source", LISTENING.replace('source = "zammad:acme"', "")),
    "an empty source": ("desks.zammad.source", LISTENING.replace('"zammad:acme"', '""')),
    "a source with blanks around it": ("desks.zammad.source", LISTENING.replace('"zammad:acme"', f'" {SECRET}"')),
    "a source with a line break": ("desks.zammad.source", LISTENING.replace('"zammad:acme"', f'"{SECRET}\\n1"')),
    "a source that is a number": ("desks.zammad.source", LISTENING.replace('"zammad:acme"', "7")),
    "a source that is too long": ("desks.zammad.source", LISTENING.replace("zammad:acme", SECRET * 20)),
    "no secret": ("desks.zammad.webhook_secret", LISTENING.replace('webhook_secret = "WEBHOOK"', "")),
    "the secret itself": ("desks.zammad.webhook_secret", LISTENING.replace('"WEBHOOK"', f'"{SECRET}"')),
    "the previous secret itself": (
        "desks.zammad.webhook_secret_previous",
        LISTENING + f'webhook_secret_previous = "{SECRET}"',
    ),
    "the API key itself": ("desks.zendesk.token", ANSWERING.replace('"API"', f'"{SECRET}"')),
    "a secret of digits": ("desks.zendesk.token", ANSWERING.replace('"API"', '"0123456789"')),
    "an empty name of a variable": ("desks.zammad.webhook_secret", LISTENING.replace('"WEBHOOK"', '""')),
    "a url without a key": ("desks.zammad", LISTENING + 'url = "https://zammad.acme.example"'),
    "a key without a url": ("desks.zammad", LISTENING + 'token = "API"'),
    "an agent missing": ("desks.zendesk", ANSWERING.replace(f"user = {ZENDESK_ADDRESS}", "")),
    "an account in quotes": (
        "desks.chatwoot.account",
        LISTENING.replace("desks.zammad", "desks.chatwoot")
        + f'url = "https://x.example"\ntoken = "API"\naccount = "{SECRET}"',
    ),
    "a number of a field without quotes": ("desks.zammad.fields.order", LISTENING + "fields = { order = 36000001 }"),
    "a field that is none of ours": ("desks.zammad.fields.ordr", LISTENING + f'fields = {{ ordr = "{SECRET}" }}'),
    "no tolerance": ("desks.zammad.tolerance_seconds", LISTENING + "tolerance_seconds = 0"),
    "a tolerance without an end": ("desks.zammad.tolerance_seconds", LISTENING + "tolerance_seconds = inf"),
    "a time-out that is no number": ("desks.zammad.timeout_seconds", LISTENING + "timeout_seconds = nan"),
    "a time-out longer than a lease": ("desks.zammad.timeout_seconds", LISTENING + "timeout_seconds = 3600"),
    "a public URL that is none": ("public_url", f'public_url = "{SECRET}"'),
    "a shop without a name": ("shop", 'shop = ""'),
    "a shop of two lines": ("shop", 'shop = "Acme\\nBcc: x"'),
    "mail without a host": ("mail.host", MAIL.replace('"smtp.acme.example"', '""')),
    "mail to no port": ("mail.port", MAIL + "port = 0"),
    "mail without a sender": ("mail.sender", MAIL.replace('sender = "help@acme.example"', "")),
    "a sender with a name": ("mail.sender", MAIL.replace('"help@', '"Help <help@')),
    "a sender in brackets": ("mail.sender", MAIL.replace('"help@acme.example"', '"<help@acme.example>"')),
    "a sender with a comment": ("mail.sender", MAIL.replace('"help@acme.example"', '"help(us)@acme.example"')),
    "a sender without a domain": ("mail.sender", MAIL.replace("help@acme.example", SECRET)),
    "colleagues that are several": ("mail.colleagues", MAIL.replace('"support@', '"a@b.example,support@')),
    "a security that nobody knows": ("mail.security", MAIL + f'security = "{SECRET}"'),
    "a password itself": ("mail.password", MAIL + f'user = "countermand"\npassword = "{SECRET}"'),
    "a user without a password": ("mail", MAIL + f'user = "{SECRET}"'),
    "a password without a user": ("mail", MAIL + 'password = "API"'),
    "a password in the clear": ("mail", MAIL + 'security = "none"\nuser = "countermand"\npassword = "API"'),
    "a key of mail that we do not know": ("mail.hots", MAIL + f'hots = "{SECRET}"'),
}


@pytest.mark.parametrize(
    ("text", "place"),
    [("mail = 7", "mail"), ("desks = []", "desks"), (LISTENING + "fields = 1", "desks.zammad.fields")],
)
def test_what_is_no_table_is_told_to_be_none(file: Path, text: str, place: str) -> None:
    file.write_text(text, "utf-8")
    assert notified(file) == f"the desks file {file}: {place}: expected a table"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_in_one_line_with_file_table_and_key(file: Path, mistake: str) -> None:
    place, text = MISTAKES[mistake]
    file.write_text(text, "utf-8")
    assert re.match(rf"the desks file {re.escape(str(file))}: {re.escape(place)}(:? | \w)", notified(file))


@pytest.mark.parametrize(
    "url",
    [
        SECRET,
        "",
        "acme.zendesk.com",
        "ftp://acme.zendesk.com",
        "https://",
        "https:///tickets",
        "https://acme zendesk.com",
        " https://acme.zendesk.com",
        "https://acme.zendesk.com\\u0000",
        "https://acme.zendesk.com\\u200b",
        "https://acme.zendesk.com:port",
        "https://acme.zendesk.com:99999",
        "https://acme..zendesk.com",
        "https://[acme",
        f"https://agent:{SECRET}@acme.zendesk.com",
        f"https://acme.zendesk.com?key={SECRET}",
        f"https://acme.zendesk.com#{SECRET}",
    ],
)
def test_a_url_that_no_request_can_be_sent_to_is_reported(file: Path, url: str) -> None:
    file.write_text(ANSWERING.replace("https://acme.zendesk.com/", url), "utf-8")
    assert notified(file).startswith(f"the desks file {file}: desks.zendesk.url: must be a URL such as https://")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://acme.example/desk/", "https://acme.example/desk"),
        ("https://küche.example", "https://küche.example"),
    ],
)
def test_a_url_may_have_a_port_and_a_path(file: Path, url: str, kept: str) -> None:
    assert opened(file, ANSWERING.replace("https://acme.zendesk.com/", url)).desks["zendesk"].config.url == kept


@pytest.mark.parametrize("url", ["http://acme.zendesk.com", "http://10.0.0.5:3000", "http://localhost.acme.example"])
def test_by_http_no_other_machine_is_called(file: Path, url: str) -> None:
    file.write_text(ANSWERING.replace("https://acme.zendesk.com/", url), "utf-8")
    line = notified(file)
    assert line.startswith(f"the desks file {file}: desks.zendesk.url: must begin with https://")
    assert "in the clear" in line


def test_several_mistakes_are_reported_together(file: Path) -> None:
    file.write_text(MAIL.replace("host", "hots") + 'port = "25"', "utf-8")
    line = notified(file)
    assert all(place in line for place in ("mail.host: ", "mail.hots ", "mail.port: "))


def test_the_keys_that_a_desk_has_stand_behind_its_mistakes(file: Path) -> None:
    file.write_text(LISTENING + "sauce = 1\nurl = 7\n", "utf-8")
    mistakes = "desks.zammad.url: must be in quotes; desks.zammad.sauce is not a key that we know"
    assert f"{mistakes}; the keys of zammad are: desk, source, " in notified(file)


def test_a_source_that_two_desks_share_is_reported_by_its_name(file: Path) -> None:
    file.write_text(LISTENING + LISTENING.replace("desks.zammad", "desks.freshdesk"), "utf-8")
    assert notified(file) == f"the desks file {file}: source zammad:acme belongs to more than one desk"


def test_an_unknown_kind_is_answered_with_the_known_ones(file: Path) -> None:
    file.write_text(ANSWERING.replace("desks.zendesk", "desks.helpdesk"), "utf-8")
    assert all(kind in notified(file) for kind in kinds())


# Secrets that are not there


@pytest.mark.parametrize("environ", [{"WEBHOOK": ""}, {"API": ""}, {"WEBHOOK": "", "API": ""}], ids=" and ".join)
def test_a_variable_that_is_empty_is_reported_with_its_desk(file: Path, environ: dict[str, str]) -> None:
    file.write_text(ANSWERING, "utf-8")
    assert notified(file, **environ) == f"desk zendesk: {' and '.join(environ)} must be set in the environment"


@pytest.mark.parametrize("environ", [{}, {"SMTP_PASSWORD": ""}], ids=["missing", "empty"])
def test_mails_password_that_is_missing_is_reported(file: Path, environ: dict[str, str]) -> None:
    file.write_text(MAIL + 'user = "countermand"\npassword = "SMTP_PASSWORD"', "utf-8")
    assert notified(file, **environ) == "mail: SMTP_PASSWORD must be set in the environment"


def test_a_variable_that_is_not_there_is_reported_with_its_desk(file: Path) -> None:
    file.write_text(LISTENING.replace("WEBHOOK", "WEBHOOKS"), "utf-8")
    assert notified(file) == "desk zammad: WEBHOOKS must be set in the environment"


PREVIOUS = 'webhook_secret_previous = "PREVIOUS"'
ANSWERS = 'url = "https://shop.example/answers"\ntoken = "API"'


@pytest.mark.parametrize(
    ("more", "variable", "secret"),
    [
        ("", "WHSEC", SECRET),
        ("", "WHSEC", f"whsec_{SECRET}"),
        ("", "WHSEC", "whsec_"),
        ("", "WHSEC", "whsec_c2hvcnQ="),
        ("", "WHSEC", "whsec_" + "QUJD" * 22),
        (PREVIOUS, "PREVIOUS", SECRET),
        (ANSWERS, "API", SECRET),
    ],
    ids=["no base64", "no base64 behind whsec_", "nothing", "too short", "too long", "the previous one", "of answers"],
)
def test_a_secret_that_is_none_of_standard_webhooks_is_reported_by_its_variable(
    file: Path, more: str, variable: str, secret: str
) -> None:
    file.write_text(STANDARD + more, "utf-8")
    assert re.match(
        rf"desk standard: .*\b{variable}\b", notified(file, **{"PREVIOUS": WHSEC, "API": WHSEC, variable: secret})
    )


# The way out

ZENDESK, ZAMMAD, STRANGER = "zendesk:acme", "zammad:acme", "nobody:here"


@pytest.mark.parametrize(
    ("source", "ticket", "mail"), [*product((ZENDESK, ZAMMAD, STRANGER), ("88121", None), (True, False))]
)
def test_a_request_is_reported_on_its_ticket_where_that_can_be_answered_else_by_mail_else_to_the_log(
    file: Path, source: str, ticket: str | None, mail: bool
) -> None:
    found = opened(file, ANSWERING + LISTENING + (MAIL if mail else ""))
    chosen = found.channel_for(source, ticket)
    on_the_ticket = (source, ticket) == (ZENDESK, "88121")
    assert chosen.name == ("ticket" if on_the_ticket else "mail" if mail else "log")
    assert chosen.destination == (ZENDESK if on_the_ticket else chosen.name)
    # What was written for it is delivered by it.
    again = found.channel(chosen.name, source)
    assert (type(again), again.destination) == (type(chosen), chosen.destination)


@pytest.mark.parametrize(
    ("name", "source"), [("mail", ZENDESK), ("ticket", ZAMMAD), ("ticket", STRANGER), ("pigeon", ZENDESK)]
)
def test_a_way_out_that_has_gone_from_the_file_is_reported(file: Path, name: str, source: str) -> None:
    found = opened(file, ANSWERING + LISTENING)
    with pytest.raises(ConfigurationError, match=f"^the desks file has no longer what answers by {name} for {source}$"):
        found.channel(name, source)


# Adding a desk

ADDED = '''
from desks.desk import SecretHeaderDesk, Setup


class Pigeonhole(SecretHeaderDesk):
    """A desk that somebody else wrote."""

    kind = "pigeonhole"

    def setup(self):
        return Setup({}, None, ())

    def api(self):
        raise AssertionError("these tests ask no ticket")

    has_answer = answer = tag = api
'''


def test_there_is_a_kind_for_each_desk_that_the_tests_send_deliveries_of() -> None:
    assert kinds().keys() == {table.get("desk", name) for name, table in TABLES.items()}
    assert all(kind.kind == name for name, kind in kinds().items())


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A file more in `desks/`; afterwards nobody knows of it."""
    folder = tmp_path / "more_desks"
    folder.mkdir()
    (folder / "a_pigeonhole.py").write_text(ADDED)
    monkeypatch.setattr(desks, "__path__", [*desks.__path__, str(folder)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    kinds.cache_clear()
    yield "pigeonhole"
    sys.modules.pop("desks.a_pigeonhole", None)
    vars(desks).pop("a_pigeonhole", None)
    kinds.cache_clear()
    # A class is a part of cycles; its base knows it until they are collected.
    gc.collect()


def test_adding_a_desk_is_adding_a_file(added: str, file: Path) -> None:
    assert kinds().keys() > {added, "zendesk"}
    found = opened(file, LISTENING.replace("zammad", added) + 'url = "https://coop.example"\ntoken = "API"')
    assert found.desks[added].kind == added
    assert found.channel_for(f"{added}:acme", "1").name == "ticket"


def test_a_desk_that_was_taken_away_again_is_not_known() -> None:
    assert "pigeonhole" not in kinds()
