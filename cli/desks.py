"""`countermand desks`: what is configured, what is missing, what to do and to paste in each desk's own pages."""

import os
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.terminal import AsJson, err, out, plain, print_json
from configuration import ConfigurationError
from configuration.settings import settings
from desks.channels import DeliveryError
from desks.config import DesksFile, MailConfig, read_file
from desks.desk import Desk, account_of_key
from desks.mail import MailChannel
from desks.registry import kinds, open_desk, open_desks, texts_of
from workers.discovery import find_database
from workers.errors import CommandError, UsageError

cli = typer.Typer(name="desks", help="The helpdesks that send requests and get the answers.", no_args_is_help=True)

Name = Annotated[str | None, typer.Argument(metavar="NAME", help="Only this desk. [default: all, and mail]")]
Whole = Annotated[
    bool, typer.Option("--whole-payload", help="Print the payload with all fields, also where the ticket can be read.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Do not try the keys to the desks' APIs.")]


@cli.command()
def check(name: Name = None, offline: Offline = False, whole: Whole = False, as_json: AsJson = False) -> int:
    """Say what is configured and what is missing, try the keys to the desks' APIs, and print what to do in each desk.

    What is tried changes nothing there.
    """
    with suppress(CommandError):
        # Not needed here, but a running `countermand up` knows the desks file.
        find_database()
    path = settings().desks
    if path is None:
        raise UsageError(
            f"no desks file is named: set COUNTERMAND_DESKS. Kinds of desks: {', '.join(sorted(kinds()))}; "
            "docs/desks.md has an example"
        )
    try:
        file = read_file(path)
    except ConfigurationError as error:
        raise UsageError(str(error)) from error
    if name is not None and name not in file.desks:
        raise UsageError(f"the desks file {path} has no desk {name}; it has: {', '.join(file.desks) or 'none'}")
    checked = [_check(path, file, one, offline=offline, whole=whole) for one in file.desks if name in (None, one)]
    problems = [problem for one in checked for problem in one["problems"]]
    if name is None:
        problems += _problems_of_the_whole(path, file, is_whole_so_far=not problems)
    if as_json:
        print_json({"ok": not problems, "desks": checked, "mail": file.mail is not None, "problems": problems})
    else:
        _print(file, checked, problems, with_mail=name is None)
    return 1 if problems else 0


def _check(path: Path, file: DesksFile, name: str, *, offline: bool, whole: bool) -> dict[str, Any]:
    try:
        desk = open_desk(path, file, name, os.environ)
    except ConfigurationError as error:
        return {"desk": name, "problem": str(error), "problems": [str(error)]}
    problems, account = _problems(desk), None
    if desk.config.answers and not (offline or desk.missing):
        try:
            with err.status(f"trying the API of {name} …"):
                account = account_of_key(desk)
        except DeliveryError as error:
            problems.append(f"desk {name}: {error}")
    base = file.public_url or f"http://{settings().http_host}:{settings().http_port}"
    checked = {"desk": name, "problem": "; ".join(problems) or None, "problems": problems}
    return {**checked, "webhook_url": f"{base}/webhooks/{name}", "account": account, **_set_up(desk, whole=whole)}


def _problems(desk: Desk) -> list[str]:
    problems = []
    if desk.unnamed_fields:
        problems.append(
            f"desk {desk.name}: `fields` must name the desk's own fields for {' and '.join(desk.unnamed_fields)}: make "
            f'them as the steps say, and write fields = {{ {desk.unnamed_fields[0]} = "…", … }} into desks.{desk.name}'
        )
    try:
        desk.check_secrets()
    except ConfigurationError as error:
        problems.append(str(error))
    return problems


def _set_up(desk: Desk, *, whole: bool) -> dict[str, Any]:
    setup = desk.setup()
    # Where we have a key the ticket's id is enough, and depends on no placeholder that an account may not know.
    reads = desk.reads_tickets and desk.config.answers and not whole
    return {
        "kind": desk.kind,
        "source": desk.source,
        "answers": desk.config.answers,
        "needed_to_answer": [key for key in desk.config.answering if getattr(desk.config, key) is None],
        "missing": desk.missing,
        "unnamed_fields": desk.unnamed_fields,
        "rotating": len(desk.secrets) > 1,
        "headers": dict(setup.headers),
        "payload": (setup.ticket_payload or setup.payload) if reads else setup.payload,
        "steps": list(setup.steps),
    }


def _problems_of_the_whole(path: Path, file: DesksFile, *, is_whole_so_far: bool) -> list[str]:
    problems = list(texts_of(path, file).problems)
    if file.mail:
        try:
            MailChannel(file.mail, os.environ)
        except ConfigurationError as error:
            problems.append(str(error))
    if is_whole_so_far and not problems:
        try:
            open_desks(path, os.environ)
        except ConfigurationError as error:
            problems.append(str(error))
    return problems


def _print(file: DesksFile, checked: Sequence[dict[str, Any]], problems: Sequence[str], *, with_mail: bool) -> None:
    for one in checked:
        if "steps" in one:
            _print_desk(one)
    if with_mail:
        _line(f"\nmail         {_mail(file.mail)}")
    if file.public_url is None and any("webhook_url" in one for one in checked):
        _line("hint: the URLs are those of this machine; set `public_url` to where the desks reach it")
    for problem in problems:
        out.print(plain(f"problem: {problem}"), style="red", soft_wrap=True, highlight=False)
    if not problems:
        out.print(plain(_outcome(checked)), style="green", soft_wrap=True, highlight=False)


def _outcome(checked: Sequence[dict[str, Any]]) -> str:
    desks = "1 desk is" if len(checked) == 1 else f"{len(checked)} desks are"
    untried = [one["desk"] for one in checked if one["answers"] and one["account"] is None]
    return f"{desks} configured; not tried: the API of {', '.join(untried)}" if untried else f"{desks} ready"


def _print_desk(one: dict[str, Any]) -> None:
    """Prints what is known, what to do and, last, what to paste, in the order in which an admin needs it."""
    out.print(plain(f"\n{one['desk']}"), style="bold")
    _line(f"  kind         {one['kind']}")
    _line(f"  source       {one['source']}")
    _line(f"  secrets      {_secrets(one)}")
    _line(f"  answers      {_answers(one)}")
    for number, step in enumerate(one["steps"], start=1):
        # For people: broken between words. What is pasted is not, however long it is.
        _line(textwrap.fill(f"{number}. {step}", out.width, initial_indent="  ", subsequent_indent="     ", **_WORDS))
    _line(f"  webhook URL  {one['webhook_url']}")
    for header, value in one["headers"].items():
        _line(f"  header       {header}: {value}")
    if one["payload"] and one["unnamed_fields"]:
        _line("  payload      is printed here once `fields` is filled in")
    elif one["payload"]:
        _line("  payload:")
        _line(one["payload"])


_WORDS: Any = {"break_long_words": False, "break_on_hyphens": False}


def _line(text: str) -> None:
    out.print(plain(text), soft_wrap=True, highlight=False)


def _secrets(one: dict[str, Any]) -> str:
    if one["missing"]:
        return f"missing: {', '.join(one['missing'])}"
    return "current and previous" if one["rotating"] else "current"


def _answers(one: dict[str, Any]) -> str:
    if one["answers"]:
        return f"on the ticket, as {one['account']}" if one["account"] else "on the ticket; the API was not tried"
    return f"not on the ticket: {', '.join(f'`{key}`' for key in one['needed_to_answer'])} are not set"


def _mail(mail: MailConfig | None) -> str:
    if mail is None:
        return "not configured: answers without a ticket go to the log"
    return f"by {mail.host}, port {mail.port}, security {mail.security}, sender {mail.sender}"
