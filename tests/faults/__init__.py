"""Streams under fault: processes, servers and connections that are killed, and the count at the end."""

import runners  # noqa: F401 - which hushes Beam about extras
