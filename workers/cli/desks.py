"""`countermand desks`: what is configured, what is missing, what to paste into each desk's own pages."""

import os
from pathlib import Path
from typing import Any

import typer

from configuration import ConfigurationError
from desks.config import File, read_file
from desks.desk import Desk
from desks.mail import MailChannel
from desks.registry import kinds, open_desk, open_desks
from tasks.settings import settings
from workers.cli.terminal import AsJson, out, plain, print_json
from workers.errors import UsageError

cli = typer.Typer(name="desks", help="The helpdesks that send requests and get the answers.", no_args_is_help=True)


@cli.command()
def check(as_json: AsJson = False) -> int:
    """Say what is configured and what is missing, and print what to paste into each desk's pages."""
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
    checked = [_check(path, file, name) for name in file.desks]
    problems = _problems_of_the_whole(path, file, checked)
    if as_json:
        print_json({"ok": not problems, "desks": checked, "mail": file.mail is not None, "problems": problems})
    else:
        _tell(path, file, checked, problems)
    return 1 if problems else 0


def _check(path: Path, file: File, name: str) -> dict[str, Any]:
    try:
        desk = open_desk(path, file, name, os.environ)
    except ConfigurationError as error:
        return {"desk": name, "problem": str(error)}
    base = file.public_url or f"http://{settings().http_host}:{settings().http_port}"
    return {"desk": name, "problem": None, "webhook_url": f"{base}/webhooks/{name}", **_set_up(desk)}


def _set_up(desk: Desk) -> dict[str, Any]:
    setup = desk.setup()
    return {
        "kind": desk.kind,
        "source": desk.source,
        "answers": desk.config.answers,
        "rotating": len(desk.secrets) > 1,
        "headers": dict(setup.headers),
        "payload": setup.payload,
        "steps": list(setup.steps),
    }


def _problems_of_the_whole(path: Path, file: File, checked: list[dict[str, Any]]) -> list[str]:
    problems = [one["problem"] for one in checked if one["problem"]]
    if file.mail:
        try:
            MailChannel(file.mail, os.environ)
        except ConfigurationError as error:
            problems.append(str(error))
    if not problems:
        try:
            open_desks(path, os.environ)
        except ConfigurationError as error:
            problems.append(str(error))
    return problems


def _tell(path: Path, file: File, checked: list[dict[str, Any]], problems: list[str]) -> None:
    for one in checked:
        out.print(plain(f"\n{one['desk']}"), style="bold")
        if one["problem"]:
            out.print(plain(f"  {one['problem']}"), style="red", soft_wrap=True)
            continue
        answers = "on the ticket" if one["answers"] else "not on the ticket: `url` and `token` are not set"
        for name, value in (
            ("kind", one["kind"]),
            ("source", one["source"]),
            ("webhook URL", one["webhook_url"]),
            ("secret", "current and previous" if one["rotating"] else "current"),
            ("answers", answers),
            *(("header", f"{header}: {value}") for header, value in one["headers"].items()),
        ):
            out.print(plain(f"  {name:<12} {value}"), soft_wrap=True, highlight=False)
        for number, step in enumerate(one["steps"], start=1):
            out.print(plain(f"  {number}. {step}"), soft_wrap=True, highlight=False)
        if one["payload"]:
            out.print("  payload:")
            out.print(plain(one["payload"]), soft_wrap=True, highlight=False)
    mail = f"by {file.mail.host}" if file.mail else "not configured: what has no ticket is told to the log"
    out.print(plain(f"\nmail         {mail}"), highlight=False)
    if file.public_url is None:
        out.print("The URLs are those of this machine; set `public_url` to where the desks reach it.", soft_wrap=True)
    for problem in problems:
        out.print(plain(f"missing: {problem}"), style="red", soft_wrap=True)
    if not problems:
        out.print(f"[green]{len(checked)} desks are ready[/]")
