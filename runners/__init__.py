"""How a job is launched: the `sluice` command line and the runners."""

import logging

# Beam warns about each of its extras that is not installed, when it is imported. Who needs one is told so then.
logging.getLogger("apache_beam.io.filesystems").setLevel(logging.ERROR)
logging.getLogger().addFilter(lambda record: "apitools not found" not in str(record.msg))
