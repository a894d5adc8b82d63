"""How a job is launched: the `sluice` command line and the runners."""
