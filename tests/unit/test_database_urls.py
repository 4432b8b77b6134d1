"""URLs of the database, as they are shown."""

import pytest

from configuration.urls import without_password

pytestmark = pytest.mark.usefixtures("system")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://jane:geheim@db.example:5432/store",
        "postgresql+psycopg://jane:ge%40heim@db.example/store",
        "postgresql://db.example/store?user=jane&password=geheim&sslmode=require",
        "redis://:geheim@db.example:6379/0",
        "rediss://db.example:6379/0?password=geheim",
        "amqp://guest:geheim@db.example:5672//",
    ],
)
def test_a_url_is_shown_without_its_password(url: str) -> None:
    shown = without_password(url)
    assert "heim" not in shown
    assert shown.startswith(url.partition(":")[0])
    assert "db.example" in shown
