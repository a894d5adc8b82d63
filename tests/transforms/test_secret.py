"""Where a password is, and what it is now."""

import pickle
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from transforms.secret import Secret, secret_of


@pytest.mark.parametrize(
    ("content", "password"),
    [(b"pw", "pw"), (b"pw\n", "pw"), (b"pw\r\n", "pw"), (b"pw\n\n", "pw\n"), (b" pw ", " pw "), ("p€".encode(), "p€")],
)
def test_a_file_holds_the_password_alone(tmp_path: Path, content: bytes, password: str) -> None:
    (tmp_path / "pw").write_bytes(content)
    assert secret_of({"password_file": str(tmp_path / "pw")}, "password").read() == password


def test_it_is_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_env, in_file = Secret(env="PW"), Secret(path=str(tmp_path / "pw"))
    for password in ("first", "second"):
        monkeypatch.setenv("PW", password)
        (tmp_path / "pw").write_text(password)
        assert in_env.read() == in_file.read() == password
        assert password not in f"{in_env!r} {in_file}"
        assert password.encode() not in pickle.dumps([in_env, in_file])


def test_what_is_absent_is_named_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PW", raising=False)
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    absent = [Secret(env="PW"), Secret(env="EMPTY"), *(Secret(path=str(tmp_path / name)) for name in ("absent", "empty", "binary", "."))]
    for secret in absent:
        with pytest.raises(ConfigError) as refused:
            secret.read()
        assert (secret.env or secret.path) in refused.value.problem
        assert refused.value.hint
        assert "hunter2" not in str(refused.value)
        assert refused.value.__cause__ is None


def test_none_is_none() -> None:
    assert secret_of({}, "password").read() == ""
    assert secret_of({}, "password", "in the URL").read() == "in the URL"
    assert "in the URL" not in repr(secret_of({}, "password", "in the URL"))
