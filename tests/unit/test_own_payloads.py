"""The desks that send JSON of their own: Zammad, Chatwoot, and senders that speak the contract."""

from pathlib import Path
from typing import Any

import pytest

from desks.desk import Desk
from desks.texts import as_html
from tests.builders import EMAIL
from tests.deliveries import BOT, a_desk, a_payload
from tests.unit.payloads import MARK, NOW, SHIPPING, ignored, read, unusable

OWN = pytest.mark.parametrize("name", ["zammad", "chatwoot"])


def test_zammads_article_says_when_the_customer_asked(tmp_path: Path) -> None:
    desk, payload = a_desk(tmp_path, "zammad"), a_payload("zammad")
    article = {"id": 9, "body": "Please cancel", "sender": "Customer", "created_at": "2026-11-23T08:59:00.123Z"}
    assert read(desk, {**payload, "article": article})["time"] == "2026-11-23T08:59:00.123000+00:00"
    nothing: list[Any] = [None, {}, ""]
    for none in nothing:
        assert read(desk, {**payload, "article": none})["time"] == NOW.isoformat()


def test_a_zammad_form_that_is_sent_again_with_another_change_of_its_ticket_is_the_same_request(tmp_path: Path) -> None:
    desk, payload = a_desk(tmp_path, "zammad"), {**a_payload("zammad"), "article": {}}
    first = read(desk, payload)
    payload["ticket"] = {**payload["ticket"], "updated_at": "2026-11-23T11:00:00.000Z", "state": "closed"}
    assert read(desk, payload)["id"] == first["id"]


@OWN
def test_a_ticket_is_ignored_until_its_kind_is_chosen_and_must_then_name_an_order(tmp_path: Path, name: str) -> None:
    desk = a_desk(tmp_path, name)
    for order in ("", "1001"):
        assert ignored(desk, a_payload(name, order=order, kind="")).startswith("no change is asked for")
    assert unusable(desk, a_payload(name, order="")) == "order: must not be empty"


@OWN
def test_the_desks_own_names_of_the_fields_are_those_of_the_desks_file(tmp_path: Path, name: str) -> None:
    named = a_desk(tmp_path, name, fields={"order": "bestellung", "kind": "wunsch", "shipping_city": "ort"})
    payload = a_payload(name, kind="change_address", addresses={"shipping": SHIPPING})
    fields = payload["ticket" if name == "zammad" else "custom_attributes"]
    for ours, theirs in (("order", "bestellung"), ("kind", "wunsch"), ("shipping_city", "ort")):
        fields[theirs] = fields.pop(f"countermand_{ours}")
    assert read(named, payload)["data"]["addresses"] == {"shipping": SHIPPING}


_NO_ZAMMAD: list[Any] = [
    {},
    [],
    None,
    "ticket",
    7,
    {"ticket": None},
    {"ticket": []},
    {"ticket": "text"},
    {"ticket": {"id": 5}},
    {"ticket": {"id": 5, "customer": None}},
    {"ticket": {"id": 5, "customer": {}}},
    {"ticket": {"id": 5, "customer": "jane@example.com"}},
    {"ticket": {"id": 5, "customer": {"email": EMAIL}, "updated_by": "jane"}, "article": {"id": 9}},
    {"ticket": {"id": 5, "customer": {"email": EMAIL}}, "article": {"id": 9, "created_by": "jane"}},
    {"ticket": {"id": 5, "customer": {"email": EMAIL}}, "article": [1]},
    {"error": "expected ',' or '}' after object value at line 1"},
]


@pytest.mark.parametrize("payload", _NO_ZAMMAD)
def test_what_is_no_payload_of_zammads_is_reported_by_what_is_expected(tmp_path: Path, payload: Any) -> None:
    assert "Zammad's default payload" in unusable(a_desk(tmp_path, "zammad"), payload)


def test_a_chatwoot_conversation_counts_when_its_attributes_change(tmp_path: Path) -> None:
    desk, payload = a_desk(tmp_path, "chatwoot"), a_payload("chatwoot")
    others: list[Any] = [None, [], [{"label_list": {}}], [{"status": {}}, {"updated_at": {}}]]
    for changed in others:
        assert "attributes" in ignored(desk, {**payload, "changed_attributes": changed})
    assert "attributes" in ignored(desk, {**payload, "event": "conversation_status_changed"})
    del payload["changed_attributes"]
    assert "attributes" in ignored(desk, payload)


def test_a_change_of_attributes_that_are_none_of_ours_asks_nothing_again(tmp_path: Path) -> None:
    payload = a_payload("chatwoot", time="2026-11-23T09:20:00Z")
    ours = payload["custom_attributes"]
    payload["custom_attributes"] = {**ours, "vip": True}
    payload["changed_attributes"] = [
        {"custom_attributes": {"previous_value": ours, "current_value": payload["custom_attributes"]}}
    ]
    ignored(a_desk(tmp_path, "chatwoot"), payload)


def test_of_a_chatwoot_form_that_is_filled_in_field_by_field_only_the_kind_sends_the_request(tmp_path: Path) -> None:
    desk, address = a_desk(tmp_path, "chatwoot"), {f"shipping_{name}": value for name, value in SHIPPING.items()}
    chosen, moved = {"kind": "change_address"}, {"shipping_line1": "Hofstraße 6"}
    form: dict[str, Any] = {}
    sent = []
    steps: list[dict[str, Any]] = [
        {"order": "1001"},
        *({name: address[name]} for name in address),
        chosen,
        moved,
        {"kind": None},
        chosen,
    ]
    for filled_in in steps:
        before, form = form, {**form, **{f"countermand_{name}": value for name, value in filled_in.items()}}
        changed = [{"custom_attributes": {"previous_value": before, "current_value": form}}]
        payload = {**a_payload("chatwoot"), "custom_attributes": form, "changed_attributes": changed}
        if filled_in == chosen:
            sent.append(read(desk, payload)["data"]["addresses"]["shipping"])
        else:
            assert "kind" in ignored(desk, payload)
    assert sent == [SHIPPING, {**SHIPPING, "line1": "Hofstraße 6"}]


_NO_CHATWOOT: list[Any] = [
    {},
    [],
    None,
    "event",
    {"event": "conversation_updated", "changed_attributes": 7},
    {"event": "conversation_updated", "changed_attributes": [[[]]]},
    {"changed_attributes": [{"custom_attributes": {}}]},
]


@pytest.mark.parametrize("payload", _NO_CHATWOOT)
def test_what_is_no_event_of_chatwoots_is_reported_by_what_is_expected(tmp_path: Path, payload: Any) -> None:
    assert "Chatwoot's `conversation_updated`" in unusable(a_desk(tmp_path, "chatwoot"), payload)


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": []},
        {"meta": None},
        {"meta": {}},
        {"meta": {"sender": None}},
        {"meta": {"sender": {"email": 5.5}, "hmac_verified": True}},
        {"meta": ["sender"]},
        {"custom_attributes": None},
        {"custom_attributes": "ab"},
        {"custom_attributes": [[[], 1]]},
        {"additional_attributes": "en"},
        {"additional_attributes": {"conversation_language": {}}},
    ],
)
def test_a_chatwoot_event_with_a_part_of_another_shape_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    unusable(a_desk(tmp_path, "chatwoot"), {**a_payload("chatwoot"), **change})


def requester(desk: Desk, sender: dict[str, Any] | None = None, **changes: Any) -> Any:
    """Returns whom a desk takes for the customer of a Chatwoot event that is changed in these parts."""
    payload = a_payload("chatwoot") | changes
    payload["meta"] = {**payload["meta"], "sender": {"email": EMAIL, **(sender or {})}, **changes.get("meta", {})}
    return read(desk, {name: value for name, value in payload.items() if value is not ...})["data"]["requester"]


# Where visitors say themselves who they are; of what names no channel nobody knows better.
CLAIMING = pytest.mark.parametrize("channel", ["Channel::WebWidget", "Channel::Api", None, 7, ...])


@CLAIMING
def test_a_chatwoot_visitor_is_nobody_also_where_chatwoot_has_verified_his_identifier(
    tmp_path: Path, channel: Any
) -> None:
    desk = a_desk(tmp_path, "chatwoot")
    for verified in (True, False, None, "true", 1, [True]):
        for identifier in (EMAIL, "42", "mallory@elsewhere.example", None):
            assert requester(desk, {"identifier": identifier}, channel=channel, meta={"hmac_verified": verified}) == ""
    payload = a_payload("chatwoot") | {"channel": "Channel::Api", "meta": {"sender": {"email": EMAIL}}}
    assert read(desk, payload)["data"]["requester"] == ""


def test_a_chatwoot_contact_whose_address_is_not_the_one_that_an_email_conversation_came_from_is_nobody(
    tmp_path: Path,
) -> None:
    desk = a_desk(tmp_path, "chatwoot")
    assert requester(desk, contact_inbox={"source_id": "mallory@elsewhere.example"}) == ""
    for source in (EMAIL, EMAIL.upper(), None, "6a1f6e2c"):
        assert requester(desk, contact_inbox={"source_id": source}) == EMAIL
    # Of another channel it is no address.
    assert requester(desk, contact_inbox={"source_id": "+39333"}, channel="Channel::Whatsapp") == EMAIL
    missing: tuple[Any, ...] = (None, {}, ...)
    for nothing in missing:
        assert requester(desk, contact_inbox=nothing) == EMAIL


@pytest.mark.parametrize("channel", ["Channel::Email", "Channel::Whatsapp", "Channel::FacebookPage"])
def test_a_chatwoot_contact_of_a_channel_that_says_who_writes_is_the_customer(tmp_path: Path, channel: str) -> None:
    for verified in (True, False, None):
        assert requester(a_desk(tmp_path, "chatwoot"), channel=channel, meta={"hmac_verified": verified}) == EMAIL


@CLAIMING
def test_who_trusts_visitors_at_chatwoot_gets_the_address_that_they_name(tmp_path: Path, channel: Any) -> None:
    desk = a_desk(tmp_path, "chatwoot", trust_unverified_visitors=True)
    for verified in (True, False, None):
        assert requester(desk, channel=channel, meta={"hmac_verified": verified}) == EMAIL


def test_a_chatwoot_language_is_that_of_the_conversation(tmp_path: Path) -> None:
    payload = {**a_payload("chatwoot"), "additional_attributes": {"conversation_language": "it"}}
    assert read(a_desk(tmp_path, "chatwoot"), payload)["data"]["language"] == "it"


def test_a_standard_sender_speaks_for_its_own_source_alone(tmp_path: Path) -> None:
    desk, event = a_desk(tmp_path, "shop"), a_payload("shop")
    assert read(desk, event) == event
    for other in ({**event, "source": "zendesk:acme"}, {**event, "source": None}, [event], "shop", None):
        assert unusable(desk, other) == "`source` must be shop, as in the desks file for desk shop"
    for_all = a_desk(tmp_path, "shop", any_source=True)
    assert read(for_all, {**event, "source": "zendesk:acme"})["source"] == "zendesk:acme"


def test_a_chatwoot_moment_is_in_seconds_with_fractions(tmp_path: Path) -> None:
    desk, payload = a_desk(tmp_path, "chatwoot"), a_payload("chatwoot")
    assert read(desk, {**payload, "updated_at": 1795424400.25})["time"] == "2026-11-23T09:00:00.250000+00:00"
    assert read(desk, {**payload, "updated_at": None})["time"] == NOW.isoformat()
    nothing: list[Any] = [1e300, float("nan"), float("-inf"), 10**30, "soon", []]
    for none in nothing:
        assert read(desk, {**payload, "updated_at": none})["time"] == NOW.isoformat()
    for another_age in (-1, 0, True, 1e11):
        assert "between the years" in unusable(desk, {**payload, "updated_at": another_age})


COLLEAGUE = "colleague@acme.example"


def of_zammad(body: str, author: str = COLLEAGUE) -> dict[str, Any]:
    """Returns what Zammad sends when somebody writes an article and changes our fields with it."""
    payload = a_payload("zammad", author=author)
    payload["article"] |= {"body": body, "content_type": "text/html", "sender": "Agent"}
    return payload


OURS = as_html(f"The order is cancelled.\n\n{MARK}")


def test_an_answer_of_ours_that_zammad_sends_back_as_an_article_is_ignored(tmp_path: Path) -> None:
    for desk in (a_desk(tmp_path, "zammad"), a_desk(tmp_path, "zammad", user=BOT.upper())):
        for body in (OURS, f"The order is cancelled.\n\n{MARK}"):
            assert ignored(desk, of_zammad(body, BOT)) == "an answer of our own that came back"


# As Zammad quotes, as mail programs do, and a mark that ends nothing.
QUOTES = [
    f"<div>I have corrected the street.</div><blockquote type='cite'>{OURS}</blockquote>",
    f"<blockquote>one</blockquote><p>I have corrected the street.</p><BLOCKQUOTE>{OURS}</BLOCKQUOTE>",
    f"I have corrected the street.\n\n> The order is cancelled.\n>\n> {MARK}",
    f"<p>I have corrected the street.</p><p>&gt; The order is cancelled.<br>&gt; {MARK}</p>",
    f"{OURS}<p>I have corrected the street.</p>",
    f"<p>I have corrected the street, see {MARK}</p>",
    f"<p>{MARK} I have corrected the street.</p>",
]


@pytest.mark.parametrize("body", QUOTES)
def test_what_a_colleague_writes_who_quotes_an_answer_of_ours_is_a_request(tmp_path: Path, body: str) -> None:
    assert read(a_desk(tmp_path, "zammad"), of_zammad(body))


def test_where_our_account_at_zammad_is_known_only_what_it_writes_is_ours(tmp_path: Path) -> None:
    desk = a_desk(tmp_path, "zammad", user=BOT)
    assert read(desk, of_zammad(OURS))
    assert ignored(desk, of_zammad("Thank you", BOT))


def test_what_a_colleague_changed_at_zammad_is_a_request_though_we_have_answered_on_the_ticket_since(
    tmp_path: Path,
) -> None:
    desk = a_desk(tmp_path, "zammad", user=BOT)
    articles: list[dict[str, Any]] = [{}, of_zammad("I have corrected the street.")["article"]]
    for article in articles:
        payload = {**a_payload("zammad", author=BOT), "article": article}
        assert payload["ticket"]["updated_by"]["email"] == BOT
        assert read(desk, payload)


def test_a_zammad_that_does_not_say_who_wrote_an_article_says_who_changed_the_ticket(tmp_path: Path) -> None:
    payload = of_zammad("Thank you", BOT)
    del payload["article"]["created_by"]
    ignored(a_desk(tmp_path, "zammad", user=BOT), payload)


def test_an_article_of_nothing_but_brackets_is_read_in_no_time(tmp_path: Path) -> None:
    for body in (
        "<" * 200_000,
        "</p" * 60_000,
        "<br" + " " * 200_000,
        "</p" + " /" * 100_000,
        "[countermand:" * 15_000,
    ):
        assert read(a_desk(tmp_path, "zammad"), of_zammad(body))
