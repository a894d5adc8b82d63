"""`python -m runners` is `sluice`."""

from runners.cli import main

main(prog_name="sluice")
