"""`countermand desks check`: what an admin needs to connect a helpdesk, what is missing, and never a secret."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.terminal import out
from configuration.settings import settings
from desks.registry import kinds
from rules.model import Kind
from tests.commands import Countermand, Ended, error_line
from tests.helpdesks.chatwoot import FakeChatwoot
from tests.helpdesks.desks_file import DesksFile, desks_file
from tests.helpdesks.fake import FakeDesk
from tests.helpdesks.faults import Fault, hangs_up, says
from tests.helpdesks.freshdesk import FakeFreshdesk
from tests.helpdesks.gorgias import FakeGorgias
from tests.helpdesks.standard import FakeStandard
from tests.helpdesks.zammad import FakeZammad
from tests.helpdesks.zendesk import FakeZendesk

PUBLIC_URL = "https://countermand.acme.example"
DESKS: dict[str, dict[str, Any]] = {
    "zendesk": {
        "source": "zendesk:acme",
        "webhook_secret": "ZENDESK_SECRET",
        "webhook_secret_previous": "ZENDESK_SECRET_PREVIOUS",
        "fields": {"order": "360001", "kind": "360002", "note": "360003", "shipping_city": "360004"},
        "url": "https://acme.zendesk.com",
        "user": "bot@acme.example",
        "token": "ZENDESK_TOKEN",
    },
    "freshdesk": {
        "source": "freshdesk:acme",
        "webhook_secret": "FRESHDESK_SECRET",
        "fields": {"order": "cf_order", "kind": "cf_kind"},
    },
    "gorgias": {"source": "gorgias:acme", "webhook_secret": "GORGIAS_SECRET", "fields": {"order": "71", "kind": "72"}},
    "zammad": {"source": "zammad:acme", "webhook_secret": "ZAMMAD_SECRET"},
    "chatwoot": {"source": "chatwoot:acme", "webhook_secret": "CHATWOOT_SECRET"},
    "shop": {"desk": "standard", "source": "shop", "webhook_secret": "SHOP_SECRET"},
}
MAIL = {
    "host": "smtp.acme.example",
    "sender": "help@acme.example",
    "colleagues": "support@acme.example",
    "user": "countermand",
    "password": "SMTP_PASSWORD",
}
SECRET = "sk-live-9f8a7b6c5d"
SHOPS_SECRET = "whsec_c2stbGl2ZS05ZjhhN2I2YzVkLXNrLWxpdmUtOWY4YTc="
SECRETS = {
    **{name: f"{name.lower()}-{SECRET}" for name in ("ZENDESK_SECRET", "ZENDESK_SECRET_PREVIOUS", "ZENDESK_TOKEN")},
    **{f"{name}_SECRET": f"{name}-{SECRET}" for name in ("FRESHDESK", "GORGIAS", "ZAMMAD", "CHATWOOT")},
    "SHOP_SECRET": SHOPS_SECRET,
    "SMTP_PASSWORD": SECRET,
}
DESK = {
    "desk",
    "problem",
    "problems",
    "webhook_url",
    "account",
    "kind",
    "source",
    "answers",
    "needed_to_answer",
    "missing",
    "unnamed_fields",
    "rotating",
    "headers",
    "payload",
    "steps",
}
# The kinds with a call that tells whose the key is.
WITH_KEYS: list[type[FakeDesk]] = [FakeZendesk, FakeFreshdesk, FakeGorgias, FakeZammad, FakeChatwoot]

Check = Callable[..., Ended]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The desks file that the environment names, with every secret in its variable."""
    file = tmp_path / "desks.toml"
    for name, value in {**SECRETS, "COUNTERMAND_DESKS": str(file)}.items():
        monkeypatch.setenv(name, value)
    return file


@pytest.fixture
def check(countermand: Countermand, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Runs `countermand desks check` with some variables changed; whatever it prints, it prints no secret.

    No API is tried: the URLs are those of others.
    """

    def run(*arguments: str, **environ: str) -> Ended:
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            settings.cache_clear()
            ended = countermand("desks", "check", "--offline", *arguments)
        settings.cache_clear()
        for secret in (SECRET, SHOPS_SECRET.removeprefix("whsec_")):
            assert secret not in ended.out + ended.err
        return ended

    return run


def write(file: Path, desks: dict[str, dict[str, Any]], mail: dict[str, Any] | None = None, **keys: str) -> None:
    tables = {f"desks.{name}": table for name, table in desks.items()} | ({"mail": mail} if mail else {})
    lines = [f"{key} = {_toml(value)}" for key, value in keys.items()]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    file.write_text("\n".join(lines), "utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    # Texts and numbers are the same in TOML as in JSON.
    return json.dumps(value)


def section(ended: Ended, name: str) -> str:
    """Returns what is printed of one desk."""
    parts = ended.out.split("\n\n")
    return next(f"{part}\n" for part in parts if part.lstrip("\n").partition("\n")[0] == name)


# All is there


def test_every_desk_is_printed_with_all_that_is_pasted_into_its_pages(file: Path, check: Check) -> None:
    write(file, DESKS, MAIL, public_url=PUBLIC_URL)
    ended, as_json = check(), check("--json").json
    assert (ended.code, ended.err) == (0, "")
    assert {desk["kind"] for desk in as_json["desks"]} == kinds().keys()
    for desk in as_json["desks"]:
        printed = section(ended, desk["desk"])
        assert f"{PUBLIC_URL}/webhooks/{desk['desk']}\n" in printed
        assert DESKS[desk["desk"]]["source"] in printed
        # Lines that are pasted are not broken, however long they are; those that are read are.
        for line in (desk["payload"] or "").splitlines():
            assert line in printed
        for number, step in enumerate(desk["steps"], start=1):
            assert f"{number}. {step}" in " ".join(printed.split())
        for header, value in desk["headers"].items():
            assert f"{header}: {value}\n" in printed
    assert "smtp.acme.example, port 587, security starttls, sender help@acme.example\n" in ended.out
    assert ended.out.endswith("\n6 desks are configured; not tried: the API of zendesk\n")


def test_json_is_all_of_it_for_programs(file: Path, check: Check) -> None:
    write(file, DESKS, MAIL, public_url=PUBLIC_URL)
    ended = check("--json")
    assert (ended.code, ended.err) == (0, "")
    reported = ended.json
    assert {name: reported[name] for name in ("ok", "mail", "problems")} == {"ok": True, "mail": True, "problems": []}
    assert all(desk.keys() == DESK and desk["problem"] is None for desk in reported["desks"])
    assert [(desk["desk"], desk["kind"], desk["source"]) for desk in reported["desks"]] == [
        (name, table.get("desk", name), table["source"]) for name, table in DESKS.items()
    ]
    assert [desk["desk"] for desk in reported["desks"] if desk["answers"]] == ["zendesk"]
    assert [desk["desk"] for desk in reported["desks"] if desk["rotating"]] == ["zendesk"]
    assert all(desk["webhook_url"] == f"{PUBLIC_URL}/webhooks/{desk['desk']}" for desk in reported["desks"])


@pytest.mark.parametrize("name", ["zendesk", "freshdesk", "gorgias"])
def test_the_payload_names_the_desks_own_fields_and_leaves_no_blank(file: Path, check: Check, name: str) -> None:
    write(file, DESKS)
    reported = check("--json", "--whole-payload").json
    (payload,) = [desk["payload"] for desk in reported["desks"] if desk["desk"] == name]
    assert all(field in payload for field in DESKS[name]["fields"].values())
    assert "<" not in payload
    assert ('"shipping"' in payload) == ("shipping_city" in DESKS[name]["fields"])
    assert '"billing"' not in payload


def test_where_there_is_a_key_the_payload_is_the_tickets_id_alone(file: Path, check: Check) -> None:
    write(file, DESKS)
    payloads = {desk["desk"]: desk["payload"] for desk in check("--json").json["desks"]}
    assert payloads["zendesk"] == '{"ticket": "{{ticket.id}}"}'
    # Without a key to read it by, it would be of no use.
    assert all("order" in payloads[name] for name in ("freshdesk", "gorgias"))
    assert payloads["zammad"] is None


def test_a_desk_without_an_api_is_said_to_be_answered_elsewhere_and_mail_to_be_missing(
    file: Path, check: Check
) -> None:
    write(file, DESKS)
    ended = check()
    assert ended.code == 0
    assert "answers      on the ticket" in section(ended, "zendesk")
    assert "answers      not on the ticket: `url`, `token` are not set\n" in section(ended, "zammad")
    needed = "`url`, `token`, `user`, `reply_from` are not set\n"
    assert f"answers      not on the ticket: {needed}" in section(ended, "gorgias")
    assert "not configured: answers without a ticket go to the log" in ended.out


def test_a_rotation_is_seen_until_it_is_over(file: Path, check: Check) -> None:
    write(file, DESKS)
    assert "current and previous" in section(check(), "zendesk")
    assert "current and previous" not in section(check(ZENDESK_SECRET_PREVIOUS=""), "zendesk")


def test_without_a_public_url_the_urls_are_this_machines_and_that_is_said(file: Path, check: Check) -> None:
    write(file, DESKS)
    ended = check(COUNTERMAND_HTTP_PORT="8123")
    assert "http://127.0.0.1:8123/webhooks/zendesk\n" in section(ended, "zendesk")
    assert ended.out.count("`public_url`") == ended.out.count("hint: ") == 1
    write(file, DESKS, public_url=PUBLIC_URL)
    assert "`public_url`" not in check().out


def test_an_admin_reads_what_to_do_before_what_to_paste(file: Path, check: Check) -> None:
    write(file, DESKS)
    ended = check()
    for name in DESKS:
        printed = section(ended, name)
        places = [printed.find(one) for one in ("  1. ", "webhook URL", "  header ", "  payload:")]
        found = [place for place in places if place >= 0]
        assert found == sorted(found)
        assert places[0] >= 0


@pytest.mark.parametrize("name", ["freshdesk", "gorgias", "zammad"])
def test_a_secret_that_the_desk_does_not_show_is_made_up_first(file: Path, check: Check, name: str) -> None:
    write(file, {name: DESKS[name]})
    first = check("--json").json["desks"][0]["steps"][0]
    assert "`openssl rand -hex 32`" in first
    assert DESKS[name]["webhook_secret"] in first


def test_who_copies_the_payload_of_a_sender_of_its_own_gets_answers_and_reads_what_they_hang_on(
    file: Path, check: Check
) -> None:
    write(file, {"shop": DESKS["shop"]})
    (shop,) = check("--json").json["desks"]
    assert json.loads(shop["payload"])["data"]["ticket"]
    assert "Only requests with a `ticket` are answered there." in shop["steps"][-1]


def test_at_80_columns_what_is_read_is_broken_between_words(
    file: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "width", 80)
    write(file, DESKS)
    steps = [line for line in section(check(), "zendesk").splitlines() if re.match(r"  (\d\. |   \S)", line)]
    assert len(steps) > 10
    assert [line for line in steps if len(line) > 80] == []


def test_one_desk_is_checked_alone(file: Path, check: Check) -> None:
    write(file, DESKS, MAIL, public_url=PUBLIC_URL)
    others_are_missing = dict.fromkeys((name for name in SECRETS if "ZAMMAD" not in name), "")
    ended, as_json = check("zammad", **others_are_missing), check("zammad", "--json", **others_are_missing)
    assert (ended.code, as_json.code, as_json.json["problems"]) == (0, 0, [])
    assert [desk["desk"] for desk in as_json.json["desks"]] == ["zammad"]
    assert not any(one in ended.out for one in ("zendesk", "shop", "smtp"))
    assert ended.out.endswith("\n1 desk is ready\n")
    assert check("zammad", ZAMMAD_SECRET="").code == 1


def test_a_desk_that_is_not_in_the_file_is_one_line_with_those_that_are(file: Path, check: Check) -> None:
    write(file, DESKS)
    assert error_line(check("sahara"), 2) == f"the desks file {file} has no desk sahara; it has: {', '.join(DESKS)}"


# The keys to the APIs


@pytest.fixture
def helpdesks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DesksFile]:
    """A desks file of fakes."""
    with desks_file(tmp_path, monkeypatch) as helpdesks:
        yield helpdesks


def named(fake: FakeDesk) -> dict[str, str]:
    # Those of a fake whose tickets can be read stand in its table.
    return {} if fake.fields else {f"fields.{name}": "71" for name in kinds()[fake.kind].template_fields}


@pytest.mark.parametrize("kind", WITH_KEYS)
def test_a_key_is_tried_by_one_call_that_changes_nothing_and_it_is_said_whose_it_is(
    helpdesks: DesksFile, countermand: Countermand, kind: type[FakeDesk]
) -> None:
    desk = kind()
    helpdesks.write(desk, **named(desk))
    ended = countermand("desks", "check")
    assert (ended.code, ended.err) == (0, "")
    assert f"answers      on the ticket, as {desk.user}\n" in ended.out
    assert ended.out.endswith("\n1 desk is ready\n")
    assert [call.action for call in desk.calls] == ["me"]
    assert [path.partition(" ")[0] for path in desk.paths] == ["GET"]


@pytest.mark.parametrize("kind", WITH_KEYS)
@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (None, "answered 401: the key to the API is wrong"),
        (says(503), "answered 503"),
        (says(404), "answered 404"),
        (says(200, b"<html>Welcome to our hotel</html>"), "the answer is not JSON"),
        (hangs_up, "no answer (RemoteProtocolError)"),
    ],
    ids=["wrong", "away", "elsewhere", "portal", "hangs up"],
)
def test_a_key_that_does_not_work_is_a_problem_and_quotes_nothing(
    helpdesks: DesksFile, countermand: Countermand, kind: type[FakeDesk], fault: Fault | None, line: str
) -> None:
    desk = kind()
    helpdesks.write(desk, **named(desk))
    if fault:
        desk.next("me", fault)
    else:
        helpdesks.environment(**{desk.variable: desk.wrong_token})
    ended, as_json = countermand("desks", "check"), countermand("desks", "check", "--json")
    assert (ended.code, ended.err) == (1, "")
    (problem,) = [reported for reported in ended.out.splitlines() if reported.startswith("problem: ")]
    assert problem.startswith(f"problem: desk {desk.kind}: GET /")
    assert problem.endswith(line)
    assert "ready" not in ended.out
    assert desk.wrong_token not in ended.out
    assert as_json.json["ok"] is (fault is not None)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [(kind, answer) for kind in WITH_KEYS for answer in (b"{}", b"[]", b"7") if kind is not FakeGorgias],
)
def test_an_api_that_answers_in_another_shape_is_a_problem(
    helpdesks: DesksFile, countermand: Countermand, kind: type[FakeDesk], answer: bytes
) -> None:
    desk = kind()
    helpdesks.write(desk, **named(desk))
    desk.next("me", says(200, answer))
    ended = countermand("desks", "check")
    assert ended.code == 1
    assert f"is not what {desk.kind}'s API describes" in ended.out


def test_a_key_of_another_account_at_zammad_than_the_user_is_a_problem(
    helpdesks: DesksFile, countermand: Countermand
) -> None:
    desk = FakeZammad()
    helpdesks.write(desk, user="other@acme.example")
    ended = countermand("desks", "check")
    assert ended.code == 1
    assert "GET /users/me: the key to the API belongs to an account other than `user`" in ended.out
    helpdesks.write(desk, user=desk.user)
    assert countermand("desks", "check").code == 0


@pytest.mark.parametrize("name", ["zendesk", "freshdesk", "zammad"])
def test_the_account_that_writes_answers_is_told_to_be_nobodys(file: Path, check: Check, name: str) -> None:
    write(file, {name: DESKS[name]})
    steps = check("--json").json["desks"][0]["steps"]
    assert sum("that no person works with" in step for step in steps) == 1


@pytest.mark.parametrize("name", ["freshdesk", "gorgias"])
def test_where_the_moment_of_the_asking_is_not_known_it_is_reported_how_to_ask_for_the_same_again(
    file: Path, check: Check, name: str
) -> None:
    write(file, {name: DESKS[name]})
    assert "write another note" in check("--json").json["desks"][0]["steps"][-1]


def test_it_is_reported_that_what_chatwoots_visitors_ask_goes_to_a_colleague(file: Path, check: Check) -> None:
    write(file, {"chatwoot": DESKS["chatwoot"]})
    assert "website or API inbox always go to a colleague" in " ".join(check("--json").json["desks"][0]["steps"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("zendesk", "neither Customers can edit nor Customers can view"),
        ("freshdesk", "untick Displayed to customers and Customers can edit"),
        ("gorgias", "no rule, flow or contact form"),
        ("zammad", "for the permission ticket.customer: untick shown"),
    ],
)
def test_it_is_reported_in_the_desks_own_words_that_the_fields_are_for_agents_alone(
    file: Path, check: Check, name: str, words: str
) -> None:
    write(file, {name: DESKS[name]})
    [step] = [one for one in check("--json").json["desks"][0]["steps"] if words in one]
    assert "could make requests in the name of any customer" in step


@pytest.mark.parametrize("name", ["zendesk", "freshdesk", "gorgias", "zammad", "chatwoot"])
def test_it_is_reported_how_the_labels_of_a_desk_are_given_their_meaning(file: Path, check: Check, name: str) -> None:
    write(file, {name: DESKS[name]})
    assert 'kinds = { "Cancel order" = "cancel" }' in " ".join(check("--json").json["desks"][0]["steps"])


@pytest.mark.parametrize("email", ['"other@acme.example"', "null"])
def test_a_key_of_another_account_than_the_user_is_a_problem(
    helpdesks: DesksFile, countermand: Countermand, email: str
) -> None:
    desk = FakeZendesk()
    helpdesks.write(desk, **named(desk))
    desk.next("me", says(200, b'{"user": {"id": null, "email": %s}}' % email.encode()))
    ended = countermand("desks", "check")
    assert ended.code == 1
    assert "GET /users/me.json: the key to the API belongs to an account other than `user`" in ended.out


def test_a_key_of_nobody_in_chatwoots_account_is_a_problem(helpdesks: DesksFile, countermand: Countermand) -> None:
    helpdesks.write(FakeChatwoot(), account=8)
    ended = countermand("desks", "check")
    assert ended.code == 1
    assert "GET /profile: the key to the API belongs to nobody in the account that `account` names" in ended.out


def test_offline_and_where_nothing_can_be_tried_no_api_is_called_and_that_is_said(
    helpdesks: DesksFile, countermand: Countermand
) -> None:
    zammad, shop = FakeZammad(), FakeStandard()
    helpdesks.write(zammad, shop)
    ended, as_json = countermand("desks", "check", "--offline"), countermand("desks", "check", "--json").json
    assert ended.code == 0
    assert ended.out.count("answers      on the ticket; the API was not tried\n") == 2
    assert ended.out.endswith("\n2 desks are configured; not tried: the API of zammad, standard\n")
    assert {desk["desk"]: desk["account"] for desk in as_json["desks"]} == {"zammad": zammad.user, "standard": None}
    assert (len(zammad.calls), shop.paths) == (1, [])


# Something is missing


@pytest.mark.parametrize("name", ["zendesk", "freshdesk", "gorgias"])
@pytest.mark.parametrize("fields", [{}, {"kind": "1", "note": "2"}])
def test_a_template_whose_fields_are_not_named_yet_is_a_problem_and_not_printed(
    file: Path, check: Check, name: str, fields: dict[str, str]
) -> None:
    write(file, {name: {**DESKS[name], "fields": fields}})
    ended, as_json = check(), check("--json").json
    assert (ended.code, as_json["ok"], as_json["desks"][0]["webhook_url"][-len(name) :]) == (1, False, name)
    missing = "order" if fields else "order and kind"
    (problem,) = as_json["problems"]
    assert problem.startswith(f"desk {name}: `fields` must name the desk's own fields for {missing}: add them")
    assert "{{" not in ended.out
    assert "payload      will be printed here once `fields` is filled in\n" in ended.out


def test_each_problem_is_reported_once_and_none_is_ready(file: Path, check: Check) -> None:
    write(file, {**DESKS, "freshdesk": {**DESKS["freshdesk"], "fields": {}}}, MAIL)
    ended = check(FRESHDESK_SECRET="", SMTP_PASSWORD="")
    problems = [line for line in ended.out.splitlines() if line.startswith("problem: ")]
    assert len(problems) == len(set(problems)) == 3
    assert "must be set" in ended.out
    assert ended.out.count("must be set") == 2
    assert "secrets      missing: FRESHDESK_SECRET\n" in section(ended, "freshdesk")
    assert "ready" not in ended.out


@pytest.mark.parametrize("variable", [name for name in SECRETS if name != "ZENDESK_SECRET_PREVIOUS"])
def test_a_secret_that_is_missing_is_reported_ends_with_1_and_hides_no_other_desk(
    file: Path, check: Check, variable: str
) -> None:
    write(file, DESKS, MAIL, public_url=PUBLIC_URL)
    ended, as_json = check(**{variable: ""}), check("--json", **{variable: ""})
    assert (ended.code, ended.err, as_json.code, as_json.json["ok"]) == (1, "", 1, False)
    assert f"{variable} must be set in the environment" in ended.out
    (problem,) = as_json.json["problems"]
    assert f"{variable} must be set in the environment" in problem
    hurt = variable.partition("_")[0].lower()
    assert [desk["desk"] for desk in as_json.json["desks"] if desk["problem"]] == [hurt] * (hurt in DESKS)
    assert all(f"{PUBLIC_URL}/webhooks/{name}\n" in ended.out for name in DESKS if name != hurt)


@pytest.mark.parametrize("name", DESKS)
def test_who_has_no_secrets_yet_reads_where_they_come_from(file: Path, check: Check, name: str) -> None:
    """A desk shows its secret once its webhook is made, which needs the URL: both are named before they are set."""
    write(file, {name: DESKS[name]}, public_url=PUBLIC_URL)
    steps = check("--json").json["desks"][0]["steps"]
    ended = check(**dict.fromkeys(SECRETS, ""))
    assert ended.code == 1
    assert f"{PUBLIC_URL}/webhooks/{name}\n" in ended.out
    assert all(step in " ".join(ended.out.split()) for step in steps)


@pytest.mark.parametrize("name", [name for name in DESKS if name != "shop"])
def test_an_admin_reads_which_kinds_of_requests_there_are(file: Path, check: Check, name: str) -> None:
    write(file, {name: DESKS[name]})
    printed = " ".join(section(check(), name).split())
    assert [kind for kind in Kind if kind not in printed] == []


@pytest.mark.parametrize("name", [name for name in DESKS if name != "shop"])
def test_a_change_of_address_is_reported_as_a_kind_only_together_with_the_fields_that_it_needs(
    file: Path, check: Check, name: str
) -> None:
    write(file, {name: DESKS[name]})
    steps = check("--json").json["desks"][0]["steps"]
    [reported] = [step for step in steps if Kind.CHANGE_ADDRESS in step]
    assert "shipping_line1" in reported
    assert Kind.CANCEL not in reported


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"webhook_secret": SECRET}, "desks.zammad.webhook_secret: must be the name of an environment variable"),
        ({"token": "ZENDESK_TOKEN"}, "desks.zammad: to answer its tickets it needs url, token; missing: url"),
        ({"sauce": SECRET}, "desks.zammad.sauce is not a key that we know"),
        ({"desk": "zamad"}, "desks.zammad is no kind of desk"),
    ],
)
def test_a_table_with_a_mistake_is_reported_ends_with_1_and_hides_no_other_desk(
    file: Path, check: Check, changes: dict[str, str], place: str
) -> None:
    write(file, {**DESKS, "zammad": {**DESKS["zammad"], **changes}}, public_url=PUBLIC_URL)
    ended, as_json = check(), check("--json")
    assert (ended.code, ended.err, as_json.code) == (1, "", 1)
    (problem,) = as_json.json["problems"]
    assert problem.startswith(f"the desks file {file}: {place}")
    assert "the keys of zammad are: desk, source, " in problem or "sauce" not in changes
    assert ended.out.count(problem) == ended.out.count("problem: ") == 1
    assert all(f"{PUBLIC_URL}/webhooks/{name}\n" in ended.out for name in DESKS if name != "zammad")


def test_two_desks_of_one_source_are_reported_and_end_with_1(file: Path, check: Check) -> None:
    write(file, {**DESKS, "zammad": {**DESKS["zammad"], "source": "shop"}})
    ended = check()
    assert ended.code == 1
    assert f"the desks file {file}: source shop belongs to more than one desk" in ended.out


# Nothing can be checked


def test_no_desks_file_is_one_line_with_the_kinds_of_desks_and_ends_with_2(file: Path, check: Check) -> None:
    line = error_line(check(COUNTERMAND_DESKS=""), 2)
    assert "COUNTERMAND_DESKS" in line
    assert all(kind in line for kind in kinds())


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "cannot be read: No such file or directory"),
        (f'token = "{SECRET}', "is not TOML: "),
        (f'[mail]\npassword = "{SECRET}"', "mail.host: field required"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_and_ends_with_2(
    file: Path, check: Check, arguments: list[str], text: str | None, line: str
) -> None:
    if text:
        file.write_text(text, "utf-8")
    ended = error_line(check(*arguments), 2)
    assert ended.startswith(f"the desks file {file}")
    assert line in ended


def test_a_text_of_the_store_that_cannot_be_used_is_a_problem_with_file_text_and_language(
    file: Path, check: Check
) -> None:
    write(file, DESKS, texts="texts")
    (file.parent / "texts" / "it").mkdir(parents=True)
    (file.parent / "texts" / "it" / "order_cancelled.txt").write_text("Annullato: {{ nobody }}")
    ended = check("--json")
    (problem,) = ended.json["problems"]
    assert ended.code == 1
    assert "order_cancelled.txt (text order_cancelled, language it): unknown variable nobody" in problem
    (file.parent / "texts" / "it" / "order_cancelled.txt").write_text("Annullato.")
    assert check().code == 0
