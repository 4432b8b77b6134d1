"""A whole Countermand between a Zendesk that sends and a Zendesk that is answered: real processes, really killed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import psutil
import psycopg
import pytest

from desks.advice import advice
from rules.model import Reason
from tests.builders import EMAIL, a_request, an_address, an_order, encoded
from tests.deliveries import sign
from tests.helpdesks.desks_file import desks_file
from tests.helpdesks.fake import FIRST_TAG, TICKET
from tests.helpdesks.faults import before_the_answer, says
from tests.helpdesks.zendesk import FakeZendesk
from tests.processes import await_that, countermand, environment, log_of, running_up
from workers.embedded.valkey import _free_port

API_TOKEN = "the-token-of-whoever-reads"


@dataclass
class House:
    """A running Countermand with one desk."""

    up: psutil.Process
    home: Path
    url: str
    env: dict[str, str]
    zendesk: FakeZendesk

    def load(self, *orders: dict[str, Any]) -> None:
        """Loads orders."""
        self.run("orders", "load", "-", given=b"\n".join(map(encoded, orders)))

    def run(self, *arguments: str, given: bytes = b"") -> Any:
        """Runs a command that prints JSON and returns that."""
        done = countermand(*arguments, "--json", env=self.env, given=given)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def deliver(self, **payload: Any) -> httpx2.Response:
        """Sends what a Zendesk sends, signed."""
        asked = {"ticket": TICKET, "order": "1001", "kind": "cancel", "note": "Ordered twice", "requester": EMAIL}
        body = {**asked, **payload}
        return self.post(sign("zendesk", encoded(body), secret=self.zendesk.webhook_secret).headers, body)

    def post(self, headers: Mapping[str, str], payload: Any) -> httpx2.Response:
        """Sends a body with these headers."""
        return httpx2.post(f"{self.url}/webhooks/zendesk", content=encoded(payload), headers=dict(headers))

    def shown(self, key: dict[str, str]) -> dict[str, Any]:
        """Returns a request as the HTTP side shows it."""
        token = {"Authorization": f"Bearer {API_TOKEN}"}
        shown: dict[str, Any] = httpx2.get(f"{self.url}/requests/{key['source']}/{key['id']}", headers=token).json()
        return shown

    def await_answer(self, key: dict[str, str]) -> None:
        """Waits until the decision on a request is told; what waits after a failure has waited long enough."""

        def is_answered() -> bool:
            self.execute("UPDATE destination SET failures = 0, not_before = NULL, error = NULL")
            self.execute("UPDATE effect SET not_before = now() WHERE state = 'pending' AND error IS NOT NULL")
            return (self.shown(key)["notification"] or {}).get("state") == "sent"

        await_that(is_answered, f"the answer to {key}")

    def execute(self, sql: str) -> int:
        """Runs a statement on its database; returns how many rows it changed."""
        url = json.loads((self.home / "services.json").read_text())["database_url"].replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(sql).rowcount

    def answerers(self) -> list[psutil.Process]:
        """Returns the processes that answer."""
        return [one for one in self.up.children(recursive=True) if "answerer" in one.cmdline()]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """A Countermand with a Zendesk beside it; the tests of this file share it."""
    zendesk, port = FakeZendesk(), int(_free_port(""))
    with (
        # Not under pytest's own folder: each run of pytest closes that to other users, and as root PostgreSQL is one.
        TemporaryDirectory(prefix="countermand-test-") as name,
        pytest.MonkeyPatch.context() as monkeypatch,
        desks_file(Path(name), monkeypatch) as file,
    ):
        folder = Path(name)
        home = folder / "home"
        file.write(zendesk)
        env = environment(
            COUNTERMAND_HOME=str(home),
            COUNTERMAND_DESKS=str(folder / "desks.toml"),
            COUNTERMAND_API_TOKEN=API_TOKEN,
            COUNTERMAND_SWEEP_SECONDS="0.5",
        )
        with running_up(home, port, env) as up:
            yield House(psutil.Process(up.pid), home, f"http://127.0.0.1:{port}", env, zendesk)


def test_a_signed_delivery_cancels_an_order_and_is_answered_once_though_the_worker_dies_before_its_commit(
    house: House,
) -> None:
    killed: list[int] = []

    def kill_whoever_answers() -> None:
        for process in house.answerers():
            killed.append(process.pid)
            process.kill()

    house.load(an_order(hold_until="2099-01-01T00:00:00Z"))
    # The comment is stored; whoever wrote it never hears of it.
    house.zendesk.next("write", before_the_answer(kill_whoever_answers))
    accepted = house.deliver()
    assert (accepted.status_code, accepted.json()["state"]) == (202, "received")
    key = accepted.json()
    await_that(lambda: bool(killed), "the answerers are killed in the middle of their call")
    assert house.shown(key)["notification"]["state"] == "sending"
    # The dead one's lease ends.
    assert house.execute("UPDATE effect SET not_before = now() WHERE kind = 'notify' AND state = 'pending'") == 1
    house.await_answer(key)
    assert not {process.pid for process in house.answerers()} & set(killed)
    [answer] = house.zendesk.ours()
    assert (answer.is_public, answer.text) == (True, house.shown(key)["notification"]["body"])
    assert answer.mark == f"[countermand:{key['source']}/{key['id']}]"
    assert advice([Reason.ORDER_CANCELLED]) in answer.text
    assert house.zendesk.count("write") == 1
    assert house.zendesk.tags(TICKET) == [FIRST_TAG, "countermand-applied"]
    assert house.run("orders", "show", "1001")["status"] == "cancelled"
    repeated = house.deliver()
    assert (repeated.status_code, repeated.json()["reasons"]) == (200, ["order_cancelled"])
    assert house.run("audit")["ok"]


def test_it_is_said_on_start_that_without_partners_orders_are_sent_for_good_into_a_folder(house: House) -> None:
    lines = [json.loads(line) for line in log_of(house.home).read_text().splitlines()]
    [started] = [line for line in lines if line["event"] == "countermand is up"]
    assert started["interchanges go to"] == str(house.home.resolve() / "edi" / "WAREHOUSE")
    assert started["partners"] == (
        "no partner is configured (COUNTERMAND_PARTNERS): orders count as sent once they are in this folder, "
        "and that is final"
    )


def test_the_address_to_paste_has_the_port_that_it_listens_on(house: House) -> None:
    done = countermand("desks", "check", "--offline", "--json", env=house.env)
    assert [desk["webhook_url"] for desk in json.loads(done.stdout)["desks"]] == [f"{house.url}/webhooks/zendesk"]


def test_nothing_secret_and_nothing_personal_is_in_the_logs_of_a_full_run(house: House) -> None:
    secret = {
        "name": "Zebedee Quillfeather",
        "line1": "7 Marmalade Crescent",
        "city": "Snoringham",
        "phone": "+49 30 5550199",
    }
    mine, new = an_address(**secret), an_address(**{**secret, "line1": "8 Custard Alley"})
    customer = {"name": secret["name"], "email": "zebedee@quillfeather.example"}
    house.load(
        *(an_order(number, customer=customer, shipping=mine, billing=mine) for number in ("1", "2", "3")),
        an_order("4", status="pre_order", customer=customer, shipping=mine, billing=mine),
    )
    asked = {"requester": customer["email"], "note": "Because of Aunt Petronella"}
    house.zendesk.next("write", says(500), says(429, Retry_After="1"))
    reported = [
        house.deliver(order="1", **asked).json(),
        house.deliver(order="2", kind="change_address", addresses={"shipping": new}, **asked).json(),
        house.deliver(order="4", requester="mallory@elsewhere.example", note="Because of Aunt Petronella").json(),
    ]
    # In the wrong field of the form.
    mistyped = house.deliver(order=customer["email"], **asked)
    assert (mistyped.status_code, customer["email"] in mistyped.text) == (202, False)
    wrong = [
        house.post({"X-Zendesk-Webhook-Signature": "c2VjcmV0"}, {**asked, "order": "3"}),
        house.deliver(order="3", kind="change_address", addresses={"shipping": {**new, "street": "x"}}, **asked),
        house.deliver(order="3", kind="dance", **asked),
        httpx2.get(f"{house.url}/requests/zendesk:acme/1", headers={"Authorization": "Bearer a-guess-at-the-token"}),
    ]
    assert [answer.status_code for answer in wrong] == [401, 200, 200, 401]
    countermand("requests", "submit", "-", env=house.env, given=encoded(a_request("3", **asked)) + b"\n{\n")
    for key in reported:
        house.await_answer(key)
    countermand("export", env=house.env)
    logged = log_of(house.home).read_text()
    assert all(event in logged for event in ("answered", "not answered", "webhook refused", "webhook unusable"))
    never = [
        *secret.values(),
        "8 Custard Alley",
        *customer.values(),
        "mallory@elsewhere.example",
        "Petronella",
        house.zendesk.token,
        house.zendesk.webhook_secret,
        API_TOKEN,
        "a-guess-at-the-token",
        json.loads((house.home / "services.json").read_text())["broker_url"].split("@")[0].rpartition(":")[2],
    ]
    assert [one for one in never if one in logged] == []
