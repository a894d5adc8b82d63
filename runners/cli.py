"""The `sluice` command. Exit codes: 0 done, 1 failed or not balanced, 2 wrong usage or configuration."""

import logging

import click

from runners.commands.audit import audit
from runners.commands.compact import compact
from runners.commands.demo import demo
from runners.commands.doctor import doctor
from runners.commands.generate import generate
from runners.commands.ingest import ingest
from runners.commands.letters import letters
from runners.commands.migrate import migrate
from runners.commands.produce import produce
from runners.commands.query import query
from runners.commands.replay import replay
from runners.commands.retain import retain
from runners.commands.squash import squash
from runners.commands.warnings import warnings
from runners.options import add_sources


@click.group()
@click.version_option(package_name="sluice")
def main() -> None:
    """Take raw product-analytics events to correct ClickHouse tables, and prove that none is missing.

    Options also come from the environment, as SLUICE_INGEST_SOURCE and SLUICE_SINK, and from a TOML file that --config names.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


for command in (audit, compact, demo, doctor, generate, ingest, letters, migrate, produce, query, replay, retain, squash, warnings):
    add_sources(command)
    main.add_command(command)
