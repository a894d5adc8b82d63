import os

import pytest

from schemas.errors import ConfigError
from transforms.io.clickhouse.url import EmbeddedAt, ServerAt, parse
from transforms.secret import Secret

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("clickhouse://host", ServerAt("host", 9000)),
        ("clickhouse://host:9001/", ServerAt("host", 9001)),
        ("clickhouse://host/events", ServerAt("host", 9000, database="events")),
        ("clickhouse://me@host", ServerAt("host", 9000, "me")),
        ("clickhouse://me:pass@host:9/db", ServerAt("host", 9, "me", Secret("pass"), "db")),
        ("clickhouse://a%40b:p%2F%3A%3F%23%25%20@host/d%2db", ServerAt("host", 9000, "a@b", Secret("p/:?#% "), "d-b")),
        ("clickhouse://me:p%E2%82%AC@host", ServerAt("host", 9000, "me", Secret("p€"))),
        ("clickhouse://host?secure=true", ServerAt("host", 9440, secure=True)),
        ("clickhouse://host:9000?secure=1&verify=0", ServerAt("host", 9000, secure=True, verify=False)),
        ("clickhouse://host?secure=False", ServerAt("host", 9000)),
        (f"clickhouse://host?secure=TRUE&ca_certs={__file__}", ServerAt("host", 9440, secure=True, ca_certs=__file__)),
        ("clickhouse://me@host?password_env=PW", ServerAt("host", 9000, "me", Secret(env="PW"))),
        ("clickhouse://me@host?password_file=/run/a%40b", ServerAt("host", 9000, "me", Secret(path="/run/a@b"))),
        ("clickhouse://[::1]:9000/db", ServerAt("::1", 9000, database="db")),
        ("chdb:/var/lib/x", EmbeddedAt("/var/lib/x")),
        ("chdb:///var/lib/x/", EmbeddedAt("/var/lib/x")),
        ("chdb:db", EmbeddedAt(os.path.join(os.getcwd(), "db"))),
        ("chdb:a/../b", EmbeddedAt(os.path.join(os.getcwd(), "b"))),
        ("chdb:~/db", EmbeddedAt(os.path.expanduser("~/db"))),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: EmbeddedAt | ServerAt) -> None:
    assert parse(url) == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "unknown kind of sink ''"),
        ("events", "unknown kind of sink ''"),
        ("http://host:8123", "unknown kind of sink 'http'"),
        (f"me:{SECRET}@host", "unknown kind of sink 'me'"),
        ("clickhouses://host", "unknown kind of sink 'clickhouses'"),
        ("clickhouse:host", "cannot take the URL apart"),
        ("clickhouse://", "the host is missing"),
        (f"clickhouse://me:{SECRET}@", "the host is missing"),
        ("clickhouse:///db", "the host is missing"),
        ("clickhouse://host:port", "the port is not a number from 1 to 65535"),
        ("clickhouse://host:0", "the port is not a number from 1 to 65535"),
        ("clickhouse://host:65536", "the port is not a number from 1 to 65535"),
        (f"clickhouse://me:{SECRET}@host/a/b", "a database has one name"),
        (f"clickhouse://me:{SECRET}@host?tls=true", "unknown parameter 'tls'"),
        (f"clickhouse://me@host?password={SECRET}", "unknown parameter 'password'"),
        (f"clickhouse://me:{SECRET}@host?secure=yes", "secure=yes: neither true nor false"),
        (f"clickhouse://me:{SECRET}@host?ca_certs=/absent", "ca_certs=/absent: no such file"),
        (f"clickhouse://me:{SECRET}@host?password_env=PW", "the password is given in two ways"),
        ("clickhouse://me@host?password_env=PW&password_file=/pw", "the password is given in two ways"),
        # Passwords that should have been encoded.
        (f"clickhouse://me:/{SECRET}@host", "cannot take the URL apart"),
        (f"clickhouse://me:?{SECRET}@host", "cannot take the URL apart"),
        (f"clickhouse://me:#{SECRET}@host", "cannot take the URL apart"),
        (f"clickhouse://me:[{SECRET}@host", "cannot take the URL apart"),
        (f"clickhouse://me:{SECRET}/@host", "cannot take the URL apart"),
        ("chdb:", "not a path"),
        ("chdb://db", "not a path"),
        ("chdb:db?readonly=1", "not a path"),
    ],
)
def test_what_is_no_url_is_refused_without_its_secret(url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(url)

    assert problem in caught.value.problem
    assert caught.value.hint
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "clickhouse://default@host:9000/default",
        "clickhouse://me@host:9000/default?password_env=PW",
        "clickhouse://me@host:9000/default?password_file=/run/secrets/pw",
        "clickhouse://a%40b@host:9440/d%2Fb?secure=true&verify=false",
        f"clickhouse://default@[::1]:9440/default?secure=true&ca_certs={__file__}",
    ],
)
def test_the_url_for_messages_means_the_same(url: str) -> None:
    if "%2F" in url:
        target: EmbeddedAt | ServerAt = ServerAt("host", 9440, "a@b", Secret(), "d/b", secure=True, verify=False)
    else:
        target = parse(url)
    assert target.where == url


def test_the_password_is_in_no_text_of_the_address() -> None:
    target = parse(f"clickhouse://me:{SECRET}@host:9000/db")

    assert isinstance(target, ServerAt)
    assert target.password.read() == SECRET
    assert target.where == "clickhouse://me@host:9000/db"
    assert SECRET not in f"{target!r} {target} {target.where} {target.address}"
