"""`sluice doctor`: a deployment in, findings out, each with what to do about it."""

from pipelines.doctor.examine import examine
from pipelines.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
