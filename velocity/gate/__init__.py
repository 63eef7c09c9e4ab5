"""The gate: may a candidate take the champion's place?

What is measured (``measurement``, ``statistics``) is kept apart from what is made of it (``judgement``): the same facts
and limits give the same verdict, for the command, the flows and CI alike.
"""

from velocity.gate.facts import Facts, Model, Sizes, hear, measure
from velocity.gate.judgement import Judgement, Row, Verdict, judge

__all__ = ["Facts", "Judgement", "Model", "Row", "Sizes", "Verdict", "hear", "judge", "measure"]
