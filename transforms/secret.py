"""A password as a URL gives it: itself, or where it is, to be read by the process that connects, each time it does."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.errors import ConfigError

ENV, FILE = "_env", "_file"


@dataclass(frozen=True)
class Secret:
    """A password, or where it is. What is not the password itself may stand in options, logs and pickles.

    Args:
        text: the password itself.
        env: the environment variable that has it.
        path: the file that has it; a newline at its end is not part of it.
    """

    text: str = field(default="", repr=False)
    env: str = ""
    path: str = ""

    def read(self) -> str:
        """Return the password as it is now, or nothing if there is none.

        Raises:
            ConfigError: the variable or the file is absent or empty.
        """
        if self.env:
            return _given(os.environ.get(self.env, ""), f"the environment variable {self.env}")
        if self.path:
            return _given(_content(self.path).removesuffix("\n").removesuffix("\r"), f"the file {self.path}")
        return self.text

    def parameters(self, name: str) -> dict[str, str]:
        """Return what a URL says of where the password is; never the password itself."""
        return {key: value for key, value in ((name + ENV, self.env), (name + FILE, self.path)) if value}


NO_SECRET = Secret()


def secret_of(options: Mapping[str, str], name: str, text: str = "") -> Secret:
    """Return the secret that a URL's parameters NAME_env and NAME_file tell, or the text that stands in the URL itself.

    Raises:
        ConfigError: it is given in two ways.
    """
    env, path = options.get(name + ENV, ""), options.get(name + FILE, "")
    if sum(map(bool, (env, path, text))) > 1:
        raise ConfigError(f"the {name} is given in two ways", f"keep one of {name}{ENV}=VARIABLE and {name}{FILE}=PATH")
    return Secret(text, env, path)


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        problem = f"the password's file {path} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = f"the password's file {path} is not UTF-8"
    raise ConfigError(problem, "it holds the password alone, and must be there wherever a process of the job connects")


def _given(value: str, where: str) -> str:
    if not value:
        raise ConfigError(f"{where} has no password in it", "set it wherever a process of the job connects, or correct the URL")
    return value
