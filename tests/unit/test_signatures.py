"""Who a webhook comes from: every scheme by its vectors, and nothing but Unauthorized for what does not fit."""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desks.config import DesksError
from desks.desk import Desk, Unauthorized, Webhook
from desks.registry import open_desks
from tests.deliveries import (
    DESKS,
    PROOF,
    STAMP,
    TIMED,
    UNSIGNED,
    Delivery,
    a_desk,
    a_secret,
    desks_file,
    environment,
    sign,
    signature,
)

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
BODY = b'{"say": "hello"}'
TOLERANCE = timedelta(seconds=300)
TICK = timedelta(microseconds=1)


def verify(desk: Desk, delivery: Delivery, now: datetime = NOW) -> None:
    desk.verify(delivery.webhook(now))


def refused(desk: Desk, delivery: Delivery, now: datetime = NOW) -> str:
    """Returns the words of the refusal."""
    with pytest.raises(Unauthorized) as error:
        verify(desk, delivery, now)
    return str(error.value)


# Vectors

_ZENDESK = "HRkRd4BeOAoUkfZr-mhauJT64rvBASlJRoIyPsd3zeA="
_STANDARD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_ZENDESK_TIME, _UNIX_TIME = "2021-07-25T10:00:00Z", "1614265330"
_UNIX_MOMENT = datetime.fromtimestamp(int(_UNIX_TIME), UTC)
_OF_STANDARD = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": _UNIX_TIME,
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
_OF_ZENDESK = {
    "X-Zendesk-Webhook-Signature-Timestamp": _ZENDESK_TIME,
    "X-Zendesk-Webhook-Signature": "Rry/4TtIdFyawtXXp8QdI6tlAUUQ/5kL1OTp5qo/ZIk=",
}
_OF_CHATWOOT = {
    "X-Chatwoot-Timestamp": _UNIX_TIME,
    "X-Chatwoot-Signature": "sha256=db430b9706a04418c085af835bd383f1d5e14ad6eca7d7f6b2fd9cbd20835f20",
}

# Desk, secret, body, moment, headers. The one of Standard Webhooks is published, the others are computed from the
# published schemes.
VECTORS: dict[str, tuple[str, str, bytes, datetime, dict[str, str]]] = {
    "Standard Webhooks": ("shop", _STANDARD, b'{"test": 2432232314}', _UNIX_MOMENT, _OF_STANDARD),
    "Zendesk": ("zendesk", _ZENDESK, BODY, datetime(2021, 7, 25, 10, tzinfo=UTC), _OF_ZENDESK),
    "Zammad": ("zammad", "secret", BODY, NOW, {"X-Hub-Signature": "sha1=971a9f2c0dbed38e1097ecaa86d56e499074a095"}),
    "Chatwoot": ("chatwoot", "secret", BODY, _UNIX_MOMENT, _OF_CHATWOOT),
    "a secret header": ("freshdesk", "s3cret", BODY, NOW, {"X-Countermand-Secret": "s3cret"}),
}
SIGNED_VECTORS = [name for name in VECTORS if name != "a secret header"]


def vector(folder: Path, name: str) -> tuple[Desk, Delivery, datetime]:
    kind, secret, body, moment, headers = VECTORS[name]
    desk = a_desk(folder, kind, environ={f"{kind.upper()}_SECRET": secret})
    return desk, Delivery(kind, headers, body), moment


@pytest.mark.parametrize("name", VECTORS)
def test_every_scheme_takes_its_vector(tmp_path: Path, name: str) -> None:
    verify(*vector(tmp_path, name))


@pytest.mark.parametrize("name", SIGNED_VECTORS)
def test_a_vector_with_one_bit_of_its_body_changed_is_refused(tmp_path: Path, name: str) -> None:
    desk, delivery, moment = vector(tmp_path, name)
    for bit in range(8 * len(delivery.body)):
        changed = bytearray(delivery.body)
        changed[bit // 8] ^= 1 << bit % 8
        assert "does not fit" in refused(desk, replace(delivery, body=bytes(changed)), moment)


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_with_any_character_of_a_header_changed_is_refused(tmp_path: Path, name: str) -> None:
    desk, delivery, moment = vector(tmp_path, name)
    for header, value in delivery.headers.items():
        for place, character in enumerate(value):
            changed = value[:place] + chr(ord(character) ^ 1) + value[place + 1 :]
            refused(desk, replace(delivery, headers={**delivery.headers, header: changed}), moment)


def test_the_vector_that_zendesk_once_printed_with_body_and_timestamp_swapped_is_refused(tmp_path: Path) -> None:
    desk, delivery, moment = vector(tmp_path, "Zendesk")
    swapped = base64.b64encode(hmac.digest(_ZENDESK.encode(), BODY + _ZENDESK_TIME.encode(), "sha256")).decode()
    assert swapped == "tRDSF7URY8BLCDlaBcQ7FHu051Zk+aAB0NKMP53teMw="
    assert "does not fit" in refused(desk, delivery.with_headers(x_zendesk_webhook_signature=swapped), moment)


@pytest.mark.parametrize("name", SIGNED_VECTORS)
def test_the_bytes_are_signed_and_not_the_json_in_them(tmp_path: Path, name: str) -> None:
    desk, delivery, moment = vector(tmp_path, name)
    refused(desk, replace(delivery, body=delivery.body.replace(b": ", b":")), moment)
    verify(desk, sign(delivery.desk, b"\xff\x00 no text at all", secret=VECTORS[name][1], at=moment), moment)


# Secrets


@pytest.fixture(params=DESKS)
def desk(request: Any, tmp_path: Path) -> Desk:
    """Each desk in turn."""
    return a_desk(tmp_path, request.param)


@pytest.mark.parametrize("which", ["current", "previous"])
def test_the_current_and_the_previous_secret_are_taken(desk: Desk, which: str) -> None:
    verify(desk, sign(desk.name, BODY, secret=a_secret(desk.name, which), at=NOW))


def test_any_other_secret_is_refused(desk: Desk) -> None:
    reported = refused(desk, sign(desk.name, BODY, secret=a_secret(desk.name, "other"), at=NOW))
    assert (
        reported == f"header {PROOF[desk.name]} does not fit this body and any secret that is configured for this desk"
    )


@pytest.mark.parametrize("name", DESKS)
def test_without_a_previous_secret_the_empty_one_proves_nothing(tmp_path: Path, name: str) -> None:
    desk = a_desk(tmp_path, name, environ={f"{name.upper()}_SECRET_PREVIOUS": ""})
    refused(desk, sign(name, BODY, secret="", at=NOW))
    verify(desk, sign(name, BODY, at=NOW))


def test_both_secrets_are_compared_in_constant_time_also_when_the_first_fits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    compare = hmac.compare_digest

    def counting(one: Any, other: Any) -> bool:
        compared.append(compare(one, other))
        return compared[-1]

    monkeypatch.setattr("desks.signatures.hmac.compare_digest", counting)
    verify(desk, sign(desk.name, BODY, at=NOW))
    assert compared == [True, False]


def test_a_refusal_quotes_neither_a_secret_nor_what_would_have_fitted(desk: Desk) -> None:
    fitting = sign(desk.name, BODY, at=NOW).headers[PROOF[desk.name]]
    reported = refused(desk, sign(desk.name, BODY, secret=a_secret(desk.name, "other"), at=NOW))
    assert not any(secret in reported for secret in (*environment().values(), fitting, a_secret(desk.name, "other")))


@pytest.mark.parametrize("name", DESKS)
def test_a_secret_that_is_not_set_is_reported_by_the_name_of_its_variable(tmp_path: Path, name: str) -> None:
    variable = f"{name.upper()}_SECRET"
    with pytest.raises(DesksError, match=f"desk {name}: {variable} must be set in the environment"):
        a_desk(tmp_path, name, environ={variable: ""})


@pytest.mark.parametrize("length", [24, 64])
def test_a_standard_webhooks_secret_has_24_to_64_bytes(tmp_path: Path, length: int) -> None:
    secret = f"whsec_{base64.b64encode(bytes(length)).decode()}"
    desk = a_desk(tmp_path, "shop", environ={"SHOP_SECRET": secret})
    verify(desk, sign("shop", BODY, secret=secret, at=NOW))


_WRONG_SECRETS = [f"whsec_{base64.b64encode(bytes(length)).decode()}" for length in (0, 23, 65)]
_WRONG_SECRETS += [
    "whsec_not base64 at all, but long enough",
    _STANDARD[:-1],
    "whsec_ÄÖÜ",
    _STANDARD.replace("sec", "sk"),
]


@pytest.mark.parametrize("secret", _WRONG_SECRETS)
def test_any_other_standard_webhooks_secret_is_reported_without_quoting_it(tmp_path: Path, secret: str) -> None:
    (tmp_path / "desks.toml").write_text(desks_file())
    for variable in ("SHOP_SECRET", "SHOP_SECRET_PREVIOUS"):
        with pytest.raises(DesksError) as error:
            open_desks(tmp_path / "desks.toml", {**environment(), variable: secret})
        assert "desk shop" in str(error.value)
        assert secret not in str(error.value)


# Windows


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("away", [TOLERANCE, -TOLERANCE], ids=["old", "ahead"])
def test_a_signature_of_five_minutes_is_taken_and_one_a_tick_older_or_newer_is_not(
    tmp_path: Path, name: str, away: timedelta
) -> None:
    desk, delivery = a_desk(tmp_path, name), sign(name, BODY, at=NOW)
    verify(desk, delivery, NOW + away)
    reported = refused(desk, delivery, NOW + away + (TICK if away > timedelta(0) else -TICK))
    assert reported.startswith(
        "the delivery was signed more than 300 seconds away from this server's time (2026-11-23T0"
    )


@pytest.mark.parametrize("name", TIMED)
def test_the_window_is_as_wide_as_the_desks_file_says(tmp_path: Path, name: str) -> None:
    desk, delivery = a_desk(tmp_path, name, tolerance_seconds=10), sign(name, BODY, at=NOW)
    verify(desk, delivery, NOW + timedelta(seconds=10))
    refused(desk, delivery, NOW + timedelta(seconds=10) + TICK)


@pytest.mark.parametrize("name", [name for name in DESKS if name not in TIMED])
def test_a_scheme_without_a_time_has_no_window(tmp_path: Path, name: str) -> None:
    verify(a_desk(tmp_path, name), sign(name, BODY), NOW + timedelta(days=9999))


def test_a_zendesk_moment_may_be_reported_in_any_zone(tmp_path: Path) -> None:
    verify(a_desk(tmp_path, "zendesk"), sign("zendesk", BODY, stamp="2026-11-23T10:04:59.999999999+01:00"))


_NO_SECONDS = [
    "",
    " ",
    "now",
    "1e9",
    "-1",
    "+1",
    "1614265330.5",
    " 1614265330",
    "16142_65330",
    "²³",
    "１６１４２６５３３０",
    "0x10",
]
_NO_SECONDS += ["9" * 12, "9" * 5000, "1614265330\u00a0", "\ud800", "2026-11-23T09:00:00Z"]
_NO_ISO = ["", " ", "now", "1795424400", "2026-11-23T09:00:00", "2026-11-23", "2026-13-01T00:00:00Z", "T", "\u00e9"]
_NO_ISO += ["2026-11-23T09:00:00+25:00", "2026-11-23T24:00:01Z", "2026-02-30T00:00:00Z", "２０２６-11-23T09:00:00Z"]
_NO_ISO += ["2026-11-23T09:00:00Z" * 999, "Mon, 23 Nov 2026 09:00:00 GMT", "\ud800"]


@pytest.mark.parametrize(
    ("name", "stamp"),
    [("chatwoot", one) for one in _NO_SECONDS]
    + [("shop", one) for one in _NO_SECONDS]
    + [("zendesk", one) for one in _NO_ISO],
)
def test_a_time_that_is_none_is_refused_although_it_was_signed(tmp_path: Path, name: str, stamp: str) -> None:
    assert refused(a_desk(tmp_path, name), sign(name, BODY, stamp=stamp)).startswith(f"header {STAMP[name]} ")


@pytest.mark.parametrize(
    ("name", "stamp"),
    [
        ("chatwoot", "0"),
        ("chatwoot", "99999999999"),
        ("shop", "00000000000"),
        ("zendesk", "0001-01-01T00:00:00+23:59"),
        ("zendesk", "9999-12-31T23:59:59.999999-23:59"),
        ("zendesk", "2026-W48-1T00:00:00Z"),
    ],
)
def test_a_moment_of_another_age_is_refused(tmp_path: Path, name: str, stamp: str) -> None:
    assert "seconds away from this server's time" in refused(a_desk(tmp_path, name), sign(name, BODY, stamp=stamp))


# What is malformed


def test_each_header_that_proves_something_must_be_there(desk: Desk) -> None:
    delivery = sign(desk.name, BODY, at=NOW)
    for header in delivery.headers:
        without = delivery.with_headers(**{header.replace("-", "_"): None})
        assert refused(desk, without) == f"header {header} is missing"


def _malformed(proof: str) -> list[str]:
    scheme = next((one for one in ("v1,", "sha1=", "sha256=") if proof.startswith(one)), "")
    value = proof.removeprefix(scheme)
    return [
        *("", " ", "=", ",", "0", "None", "\ud800", "A" * 100_000, "é" * len(proof), "\u20ac" * len(proof)),
        *(proof[:-1], proof + proof, proof + "=", f" {proof}", f"{proof} ", f"{proof}\u00a0", proof + "\0"),
        *(f'"{proof}"', f"{proof},{proof}", f"{proof};{proof}", proof.swapcase()),
        *([value, scheme, scheme + value[::-1], f"sha512={value}"] if scheme else []),
    ]


def test_a_proof_that_is_malformed_in_any_way_is_refused(desk: Desk) -> None:
    delivery = sign(desk.name, BODY, at=NOW)
    for proof in _malformed(delivery.headers[PROOF[desk.name]]):
        # A list of signatures may have spaces around them.
        if desk.name == "shop" and delivery.headers[PROOF[desk.name]] in proof.split(" "):
            continue
        refused(desk, delivery.with_headers(**{PROOF[desk.name].replace("-", "_"): proof}))


def test_the_other_base64_alphabet_is_refused(tmp_path: Path) -> None:
    desk, delivery, moment = vector(tmp_path, "Zendesk")
    proof = delivery.headers["X-Zendesk-Webhook-Signature"].replace("/", "_").replace("+", "-")
    refused(desk, delivery.with_headers(x_zendesk_webhook_signature=proof), moment)


@pytest.fixture(scope="module")
def desks(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Desk]:
    """All desks, opened once for many examples."""
    file = tmp_path_factory.mktemp("desks") / "desks.toml"
    file.write_text(desks_file())
    return open_desks(file, environment()).desks


_ANY = st.one_of(st.text(max_size=30), st.text("0123456789TZ:+-. v1,=", max_size=30))


@given(values=st.lists(_ANY, min_size=3, max_size=3), body=st.binary(max_size=20))
@pytest.mark.parametrize("name", DESKS)
def test_no_headers_and_no_body_are_answered_by_anything_else_than_a_refusal(
    desks: Mapping[str, Desk], name: str, values: list[str], body: bytes
) -> None:
    headers = (PROOF[name], STAMP.get(name, ""), "webhook-id")
    refused(desks[name], Delivery(name, dict(zip(headers, values, strict=True)), body))


@given(stamp=_ANY)
@pytest.mark.parametrize("name", TIMED)
def test_no_text_in_the_place_of_the_time_is_answered_by_anything_else_than_a_refusal(
    desks: Mapping[str, Desk], name: str, stamp: str
) -> None:
    refused(desks[name], sign(name, BODY, stamp=stamp), datetime(1999, 1, 1, tzinfo=UTC))


# Standard Webhooks


def _signed_by(*secrets: str) -> Delivery:
    """A delivery with one signature a secret."""
    delivery = sign("shop", BODY, at=NOW)
    stamp = delivery.headers["webhook-timestamp"]
    return delivery.with_headers(
        webhook_signature=" ".join(signature("shop", BODY, secret=secret, stamp=stamp) for secret in secrets)
    )


def test_one_of_several_signatures_is_enough_wherever_it_stands(tmp_path: Path) -> None:
    desk, ours = a_desk(tmp_path, "shop"), a_secret("shop")
    others = [a_secret("shop", one) for one in ("other", "third")]
    for secrets in ([ours, *others], [others[0], ours, others[1]], [*others, ours], [ours, ours]):
        verify(desk, _signed_by(*secrets))
    refused(desk, _signed_by(*others))


def test_signatures_of_other_versions_are_passed_by(tmp_path: Path) -> None:
    desk, delivery = a_desk(tmp_path, "shop"), sign("shop", BODY, at=NOW)
    ours = delivery.headers["webhook-signature"]
    verify(desk, delivery.with_headers(webhook_signature=f"v1a,{'A' * 86}== {ours}  v2,"))
    for version in ("v1a,", "v2,", "V1,", "v01,", "", ","):
        refused(desk, delivery.with_headers(webhook_signature=version + ours.removeprefix("v1,")))


def test_a_signature_holds_for_its_own_id_alone(tmp_path: Path) -> None:
    desk, delivery = a_desk(tmp_path, "shop"), sign("shop", BODY, at=NOW)
    refused(desk, delivery.with_headers(webhook_id="msg_2"))
    # The dots between the parts must not be movable.
    stamp = delivery.headers["webhook-timestamp"]
    refused(desk, delivery.with_headers(webhook_id=f"msg_1.{stamp}", webhook_timestamp=""))


def test_an_id_may_hold_any_character_that_a_header_may(tmp_path: Path) -> None:
    verify(a_desk(tmp_path, "shop"), sign("shop", BODY, at=NOW, message_id="msg_é.ÿ"))


# Secret headers


@pytest.mark.parametrize("name", UNSIGNED)
def test_a_secret_header_counts_by_its_value_alone(tmp_path: Path, name: str) -> None:
    desk = a_desk(tmp_path, name)
    verify(desk, sign(name, b""))
    for wrong in (a_secret(name)[:-1], a_secret(name).upper(), f"Bearer {a_secret(name)}", a_secret("zammad")):
        refused(desk, Delivery(name, {"x-countermand-secret": wrong}, BODY))


def test_a_secret_with_umlauts_is_taken_in_the_encoding_of_headers(tmp_path: Path) -> None:
    desk = a_desk(tmp_path, "freshdesk", environ={"FRESHDESK_SECRET": "Schlüssel"})
    # Servers read the bytes of a header as Latin-1.
    desk.verify(Webhook({"x-countermand-secret": "Schlüssel"}, BODY, NOW))
