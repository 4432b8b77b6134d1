"""Secrets in the environment and in files: read in one place, without the line end that is nobody's secret."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from configuration import ConfigurationError, secret
from configuration.settings import Settings
from tests.deliveries import a_delivery, a_desk, a_secret


@pytest.mark.parametrize("ends", ["", "\n", "\r\n", "\n\n"])
def test_a_secret_has_no_line_end_in_a_variable_or_a_file(tmp_path: Path, ends: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(f" s3cret {ends}".encode())
    assert secret({"NAME": f" s3cret {ends}"}, "NAME") == " s3cret "
    assert secret({"NAME_FILE": str(file)}, "NAME") == " s3cret "
    assert secret({"NAME": ends, "NAME_FILE": str(file)}, "NAME") == " s3cret "


def test_a_secret_of_several_lines_is_kept_as_it_is() -> None:
    assert secret({"KEY": "-----BEGIN\nab\n-----END\n"}, "KEY") == "-----BEGIN\nab\n-----END\n"


def test_a_variable_comes_before_its_file_and_nothing_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    assert secret({"NAME": "one", "NAME_FILE": str(tmp_path / "missing")}, "NAME") == "one"
    assert secret({"NAME_FILE": str(tmp_path / "empty")}, "NAME") is None
    assert secret({"NAME_FILE": ""}, "NAME") is None
    assert secret({"_FILE": str(tmp_path / "missing")}, None) is None


def test_a_file_that_cannot_be_read_is_reported_by_its_variable(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, reported in (("missing", "No such file or directory"), (".", "Is a directory"), ("binary", "not a text")):
        with pytest.raises(ConfigurationError, match=rf"NAME_FILE names .*{reported}"):
            secret({"NAME_FILE": str(tmp_path / name)}, "NAME")


def test_a_desks_secret_of_a_mounted_file_proves_its_deliveries(tmp_path: Path) -> None:
    file = tmp_path / "mounted"
    for desk in ("zendesk", "freshdesk", "zammad", "chatwoot", "shop"):
        file.write_text(a_secret(desk) + "\n")
        environ = {f"{desk.upper()}_SECRET": "", f"{desk.upper()}_SECRET_FILE": str(file)}
        opened = a_desk(tmp_path, desk, environ=environ)
        assert opened.missing == []
        opened.verify(a_delivery(desk).webhook(datetime.now(UTC)))


def test_the_settings_that_hold_secrets_can_stand_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "DATABASE_URL": "postgresql://user:password@db.example/orders",
        "BROKER_URL": "redis://:password@broker.example",
        "API_TOKEN": "t0ken",
        "API_TOKEN_PREVIOUS": "t0ken-of-before",
    }
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
        monkeypatch.delenv(f"COUNTERMAND_{name}", raising=False)
        monkeypatch.setenv(f"COUNTERMAND_{name}_FILE", str(tmp_path / name))
    read = Settings()
    assert (read.database_url, read.broker_url) == (values["DATABASE_URL"], values["BROKER_URL"])
    assert read.api_token == SecretStr("t0ken")
    assert read.api_token_previous == SecretStr("t0ken-of-before")
    monkeypatch.setenv("COUNTERMAND_API_TOKEN", "another\n")
    assert Settings().api_token == SecretStr("another")
    (tmp_path / "DATABASE_URL").unlink()
    with pytest.raises(ConfigurationError, match="COUNTERMAND_DATABASE_URL_FILE names"):
        Settings()
