"""Where options come from: the command line, then the environment, then `--config FILE`; never a file of the current folder.

SLUICE_INGEST_SOURCE=...   --source of `sluice ingest`
SLUICE_SINK, SLUICE_TEAMS  --sink and --teams of every command

sink = "clickhouse://sluice:${CLICKHOUSE_PASSWORD}@clickhouse/events"   # of every command that has the option
[ingest]                                                                # of one; what it does not know is Beam's
source = ["kafka://kafka/events?group=sluice"]
"""

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from schemas.errors import ConfigError

OF_ALL = {"sink", "teams"}
URLS = {"sink", "source", "to"}
BEAM = "sluice.beam"  # in a context's `meta`: what a file says of Beam's options
_PASSWORD = re.compile(r"^((?:clickhouse|kafka)://[^:/?#@]*):\$\{(\w+)\}@")
_VARIABLE = re.compile(r"\$\{(\w*)\}?")


def add_sources(command: click.Command) -> None:
    """Let a command's options come from the environment and from a file too."""
    for name, option in _options(command).items():
        own = f"SLUICE_{command.name}_{name}".upper()
        option.envvar = [own, f"SLUICE_{name}".upper()] if name in OF_ALL else [own]
        if name in URLS:
            option.callback = _warn_of_password
    command.params.append(
        click.Option(
            ["--config"],
            type=click.Path(),
            is_eager=True,
            expose_value=False,
            callback=_take_file,
            envvar="SLUICE_CONFIG",
            help="A TOML file of options by their names: docs/operations.md.",
        )
    )


def with_file(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001
    """Return Beam's options: those of the file, and after them those of the command line, which go before them."""
    return (*context.meta.get(BEAM, ()), *given)


def defaults(command: click.Command, others: Mapping[str, click.Command], content: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what a file says of a command's options, by parameter, and of Beam's, as arguments.

    Args:
        others: all commands by name.
        content: the file's.

    Raises:
        ConfigError: there is no such option or command, or a variable is not set.
    """
    known = _options(command)
    own = content.get(command.name or "", {})
    for name, value in content.items():
        if isinstance(value, dict) and name not in others:
            raise ConfigError(f"[{name}] is no command", f"it is one of {', '.join(others)}")
        if not isinstance(value, dict) and not any(_named(name) in _options(each) for each in others.values()):
            raise ConfigError(f"{name}: no command has such an option", f"options of Beam stand under a command, as [{command.name}]")
    takes_beam = any(parameter.name == "beam_options" for parameter in command.params)
    chosen: dict[str, Any] = {}
    beam: list[str] = []
    for name, value in [*((name, value) for name, value in content.items() if not isinstance(value, dict)), *own.items()]:
        if (option := known.get(_named(name))) is not None and option.name:
            several = option.multiple and not isinstance(value, list)
            chosen[option.name] = _resolved([value] if several else value, name)
        elif name in own and takes_beam:
            beam += _arguments(name, _resolved(value, name))
        elif name in own:
            raise ConfigError(f"[{command.name}] {name}: no such option", f"it has {', '.join(known)}")
    return chosen, beam


def _options(command: click.Command) -> dict[str, click.Option]:
    """Return a command's options by the names that users know, with underscores."""
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    return {_named(max(option.opts, key=len)): option for option in options if not option.is_eager}


def _named(name: str) -> str:
    return name.removeprefix("--").replace("-", "_")


def _take_file(context: click.Context, parameter: click.Parameter, path: str | None) -> None:  # noqa: ARG001
    if not path:
        return
    root = context.find_root().command
    commands = root.commands if isinstance(root, click.Group) else {context.command.name or "": context.command}
    try:
        context.default_map, context.meta[BEAM] = defaults(context.command, commands, _content(path))
    except ConfigError as error:
        click.echo(f"sluice: {path}: {error}", err=True)
        context.exit(2)


def _content(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        problem = f"it cannot be read: {error.strerror}"
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = f"it is no TOML: {error}"
    raise ConfigError(problem, "--config names a TOML file of options")


def _resolved(value: Any, name: str) -> Any:
    """Return a value with its `${VARIABLE}`s. That of a URL's password is not looked up: who connects does that."""
    if isinstance(value, list):
        return [_resolved(each, name) for each in value]
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, str):
        return value
    if found := _PASSWORD.match(value):
        rest = f"{found[1]}@{value[found.end() :]}"
        value = f"{rest}{'&' if '?' in rest else '?'}password_env={found[2]}"
    return _VARIABLE.sub(lambda found: _variable(found[1], name), value)


def _variable(variable: str, name: str) -> str:
    if variable not in os.environ:
        raise ConfigError(f"{name}: ${{{variable}}} is not set", "set this variable of the environment, or write the value itself")
    return os.environ[variable]


def _arguments(name: str, value: Any) -> list[str]:
    """Return an option of Beam as arguments: true is a flag."""
    if isinstance(value, list):
        return [argument for each in value for argument in _arguments(name, each)]
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [f"--{name}={value}"]


def _warn_of_password(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    given = context.get_parameter_source(parameter.name or "") == ParameterSource.COMMANDLINE
    if given and any(map(_has_password, value if isinstance(value, tuple) else (value,))):
        click.echo(
            f"sluice: warning: {max(parameter.opts, key=len)} has a password in it, which `ps` shows to every user of this machine\n"
            "hint: leave it out, and add password_env=VARIABLE or password_file=PATH to the URL",
            err=True,
        )
    return value


def _has_password(url: str | None) -> bool:
    try:
        return bool(url) and urlsplit(url).password is not None
    except ValueError:
        return False
