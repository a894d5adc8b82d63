"""Command-line options for Beam, completed by a runner's defaults."""

from collections.abc import Mapping, Sequence


def names(given: Sequence[str]) -> set[str]:
    """Return the names of options: `--name=value`, `--name value` or `--name`."""
    return {option.removeprefix("--").partition("=")[0] for option in given if option.startswith("--")}


def completed(given: Sequence[str], defaults: Mapping[str, str]) -> list[str]:
    """Return the options that are given, and those of the defaults that are not; an empty value is a flag."""
    named = names(given)
    return [*given, *(f"--{name}={value}" if value else f"--{name}" for name, value in defaults.items() if name not in named)]
