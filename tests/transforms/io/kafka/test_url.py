"""Kafka's URLs, and what is wrong with others."""

import pickle
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from transforms.io.kafka.url import KafkaAt, parse


def test_a_topic_and_its_group() -> None:
    at = parse("kafka://a:9093,b/events?group=g")
    assert at == KafkaAt("a:9093,b:9092", "events", group="g")
    assert at.settings() == {"bootstrap.servers": "a:9093,b:9092", "security.protocol": "PLAINTEXT"}


def test_tls_and_a_password() -> None:
    at = parse("kafka://me:p%40ss@a/events?group=g&tls=true&sasl=SCRAM-SHA-512&ca=/ca.pem&certificate=/c.pem&key=/k.pem")
    assert at.settings() == {
        "bootstrap.servers": "a:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": "p@ss",
        "ssl.ca.location": "/ca.pem",
        "ssl.certificate.location": "/c.pem",
        "ssl.key.location": "/k.pem",
    }
    assert "p@ss" not in repr(at) + at.where


def test_passwords_are_read_when_they_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    of_key = tmp_path / "key"
    at = parse(f"kafka://me@a/events?group=g&tls=true&sasl=PLAIN&key=/k.pem&password_env=PW&key_password_file={of_key}")
    for password in ("first", "second"):
        monkeypatch.setenv("PW", password)
        of_key.write_text(f"{password} key\n")
        settings = pickle.loads(pickle.dumps(at)).settings()
        assert (settings["sasl.password"], settings["ssl.key.password"]) == (password, f"{password} key")
        assert password.encode() not in pickle.dumps(at)
    assert at.where == "kafka://a:9092/events?group=g"


@pytest.mark.parametrize(
    "url",
    [
        "kafka://u:secret@a/events?sasl=PLAIN&password_env=PW",
        "kafka://u@a/events?sasl=PLAIN&password_env=PW&password_file=/pw",
        "kafka://u:[secret@a/events?sasl=PLAIN",
        "kafka://u:a/secret@a/events?sasl=PLAIN",
        "kafka://u:a?secret@a/events?sasl=PLAIN",
        "kafka://u:a#secret@a/events?sasl=PLAIN",
        "kafka://a",
        "kafka:///events",
        "kafka://a/x/y",
        "kafka://a/events?gruop=g",
        "kafka://a/events?start=middle",
        "kafka://a/events?tls=yes",
        "kafka://a/events?sasl=MD5",
        "kafka://u:secret@a/events?group=g",
        "kafka://a/events?sasl=PLAIN",
        "http://u:secret@a/events",
    ],
)
def test_what_is_wrong_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(url)
    assert "secret" not in str(error.value)
    assert error.value.hint
