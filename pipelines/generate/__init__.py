"""A realistic load, with the truth about it: a plan comes in; data files, a team registry and the outcome of each event go out."""

from pipelines.generate.plan import COMPRESSIONS, FORMATS, SHAPES, Plan, yesterday
from pipelines.generate.run import Summary, generate
from pipelines.generate.truth import TeamTruth

__all__ = ["COMPRESSIONS", "FORMATS", "SHAPES", "Plan", "Summary", "TeamTruth", "generate", "yesterday"]
