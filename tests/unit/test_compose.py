"""The container files fit the Compose schema, the programs, the settings and the packages that they name."""

import hashlib
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import jsonschema  # type: ignore[import-untyped]  # it publishes no types
import pytest
import yaml  # type: ignore[import-untyped]  # it publishes no types
from pydantic import SecretStr

from configuration.settings import Settings
from workers.embedded.valkey import MEMORY
from workers.supervisor import connections, programs

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = {"postgres", "valkey", "rabbitmq"}
ONE_SHOT = {"migrate"}
LONG_RUNNING = sorted(SERVICES.keys() - ONE_SHOT)


def _dependencies(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    dependencies: dict[str, dict[str, Any]] = service.get("depends_on", {})
    return dependencies


def _variables_that_are_read() -> set[str]:
    of_processes = {
        name
        for module in ("web/__main__", "workers/logs")
        for name in re.findall(r"COUNTERMAND_[A-Z_]+", (ROOT / f"{module}.py").read_text())
    }
    return of_processes | {f"COUNTERMAND_{name.upper()}" for name in Settings.model_fields}


def _packages() -> set[str]:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {pattern.removesuffix("*") for pattern in tools["packages"]["find"]["include"]}
    return packages | {f"{module}.py" for module in tools["py-modules"]}


def _instructions(name: str) -> list[list[str]]:
    """The Dockerfile's instructions of one kind, as words; of the words `--chown=…` and the like are left out."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    found = [shlex.split(line)[1:] for line in lines if line.startswith(f"{name} ")]
    return [[word for word in words if not word.startswith("--")] for words in found]


def test_the_file_is_valid_by_the_compose_schema() -> None:
    schema = json.loads((ROOT / "tests" / "data" / "compose-spec.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(COMPOSE)


def test_the_schema_would_tell_a_misspelled_key() -> None:
    schema = json.loads((ROOT / "tests" / "data" / "compose-spec.json").read_text())
    misspelled = {"services": {"worker": {"image": "countermand", "dependson": ["postgres"]}}}
    assert not jsonschema.Draft202012Validator(schema).is_valid(misspelled)


def test_the_schema_is_the_one_whose_origin_is_noted() -> None:
    sha256 = hashlib.sha256((ROOT / "tests" / "data" / "compose-spec.json").read_bytes()).hexdigest()
    assert sha256 in (ROOT / "tests" / "data" / "README.md").read_text()


def test_no_key_stands_twice_in_the_file() -> None:
    _assert_no_key_twice(yaml.compose(TEXT))


def _assert_no_key_twice(node: Any) -> None:
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice the same key in the mapping at {node.start_mark}"
    for child in node.value if isinstance(node.value, list) else []:
        for part in child if isinstance(child, tuple) else (child,):
            _assert_no_key_twice(part)


def test_every_process_of_up_is_a_service_with_the_same_command() -> None:
    expected = {name: ["python", *command[1:]] for name, command in programs().items()}
    assert all(command[0] == sys.executable for command in programs().values())
    assert {name: SERVICES[name]["command"] for name in expected} == expected
    assert SERVICES.keys() == expected.keys() | SERVERS | ONE_SHOT


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_an_image_and_ours_is_built(name: str) -> None:
    assert SERVICES[name]["image"]
    assert ("build" in SERVICES[name]) == (name not in SERVERS)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_depends_only_on_services_and_in_a_way_they_can_meet(name: str) -> None:
    for other, how in _dependencies(SERVICES[name]).items():
        assert other in SERVICES
        if other in ONE_SHOT:
            assert how["condition"] == "service_completed_successfully"
        else:
            assert how["condition"] == "service_healthy"
            assert "healthcheck" in SERVICES[other]
        assert how.get("required", True) == ("profiles" not in SERVICES[other])


@pytest.mark.parametrize("name", programs())
def test_a_process_starts_on_a_migrated_schema_and_a_broker(name: str) -> None:
    assert {"migrate", "postgres", "valkey", "rabbitmq"} == _dependencies(SERVICES[name]).keys()


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_a_long_running_service_has_a_health_check_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_the_check_of_a_main_loop_ends_before_docker_gives_it_up() -> None:
    healthcheck = SERVICES["worker"]["healthcheck"]
    sleeps = int(re.findall(r"sleep (\d+)", healthcheck["test"][1])[0])
    assert sleeps < int(healthcheck["timeout"].removesuffix("s"))


def test_migrating_is_done_once_and_not_again_and_again() -> None:
    assert SERVICES["migrate"]["restart"] == "no"
    assert SERVICES["migrate"]["command"] == ["countermand", "migrate"]
    assert "countermand" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_every_variable_of_ours_is_one_that_is_read() -> None:
    given = {variable for service in SERVICES.values() for variable in service.get("environment", {})}
    interpolated = set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    ours = {variable for variable in given | interpolated if variable.startswith("COUNTERMAND_")}
    ours |= set(re.findall(r"COUNTERMAND_[A-Z_]+", (ROOT / "Dockerfile").read_text()))
    assert ours - _variables_that_are_read() == set()
    assert {"COUNTERMAND_DATABASE_URL", "COUNTERMAND_BROKER_URL", "COUNTERMAND_HTTP_HOST", "COUNTERMAND_HOME"} <= ours


def test_a_secret_comes_from_the_file_of_secrets_and_is_not_overridden() -> None:
    kinds = {name: get_args(field.annotation) for name, field in Settings.model_fields.items()}
    secrets = {f"COUNTERMAND_{name.upper()}" for name, kind in kinds.items() if SecretStr in kind}
    assert "COUNTERMAND_API_TOKEN" in secrets
    for name in programs():
        assert SERVICES[name]["env_file"] == [{"path": "config/secrets.env", "required": False}]
        assert secrets.isdisjoint(SERVICES[name]["environment"])


def test_every_interpolated_variable_has_a_default() -> None:
    assert re.findall(r"\$\{[A-Z_]+\}|(?<!\$)\$[A-Z_]+", TEXT) == []


def test_the_defaults_of_settings_are_those_of_the_program() -> None:
    environment = SERVICES["worker"]["environment"]
    for name in ("patience_seconds", "escalation_hold_minutes", "export_seconds", "sweep_seconds"):
        variable = f"COUNTERMAND_{name.upper()}"
        assert environment[variable] == f"${{{variable}:-{Settings.model_fields[name].default}}}"


def test_only_http_is_published_and_only_on_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"http"}
    assert all(port.startswith("127.0.0.1:") and port.endswith(":8000") for port in published["http"])
    assert SERVICES["http"]["environment"]["COUNTERMAND_HTTP_HOST"] == "0.0.0.0"  # noqa: S104  # inside its container


def test_every_named_volume_is_declared_and_used() -> None:
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    # A folder beside the file: the operator's own, mounted for reading.
    assert used == COMPOSE["volumes"].keys() | {"./config"}


def test_the_exporter_writes_into_a_volume_below_the_home_of_the_image() -> None:
    home = re.findall(r"COUNTERMAND_HOME=(\S+)", (ROOT / "Dockerfile").read_text())
    assert f"edi:{home[0]}/edi" in SERVICES["exporter"]["volumes"]


@pytest.mark.parametrize("name", programs())
def test_every_process_sees_the_desks_file_and_cannot_change_it(name: str) -> None:
    assert "./config:/etc/countermand:ro" in SERVICES[name]["volumes"]
    assert "COUNTERMAND_DESKS" in SERVICES[name]["environment"]


def test_valkey_keeps_what_it_acknowledged() -> None:
    words = iter(SERVICES["valkey"]["command"][1:])
    settings = dict(zip(words, words, strict=True))
    assert settings["--appendonly"] == "yes"
    assert settings["--appendfsync"] == "always"
    assert settings["--maxmemory-policy"] == "noeviction"
    assert settings["--maxmemory"] == MEMORY


def test_each_process_of_ours_tells_the_database_its_name_as_under_the_supervisor() -> None:
    for name, number in connections().items():
        if number:
            assert SERVICES[name]["environment"]["PGAPPNAME"] == f"countermand-{name}"


def test_the_image_holds_every_package_and_module_of_the_project() -> None:
    copied = {source.rstrip("/") for words in _instructions("COPY") for source in words[:-1]}
    assert _packages() <= copied
    assert {"pyproject.toml", "requirements.lock", "LICENSE", "README.md"} <= copied


def test_what_the_image_needs_is_let_into_the_build_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    copied = {source.rstrip("/") for words in _instructions("COPY") for source in words[:-1]} - {"/venv"}
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied


def test_the_image_installs_only_what_is_locked_and_runs_as_no_root() -> None:
    installs = re.findall(r"pip install ([^\n&]+)", (ROOT / "Dockerfile").read_text())
    assert all("--require-hashes" in options or "--no-deps --no-index" in options for options in installs)
    assert len(installs) == 3
    assert _instructions("USER") == [["countermand"]]


def test_what_builds_the_package_is_found_in_the_lock() -> None:
    lock = (ROOT / "requirements-dev.lock").read_text()
    found = re.search(r"^setuptools==.*(?:\\\n.*)+", lock, flags=re.MULTILINE)
    assert found is not None
    assert "--hash=sha256:" in found[0]
    assert "/^setuptools==/" in (ROOT / "Dockerfile").read_text()
