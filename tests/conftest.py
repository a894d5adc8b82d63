"""Fixtures for all tests."""

from hypothesis import HealthCheck, settings

import runners  # noqa: F401 - which hushes Beam about extras

# How long an example takes depends on the machine: no test is about that.
settings.register_profile("sluice", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sluice")

pytest_plugins = ["tests.servers.fixtures"]
