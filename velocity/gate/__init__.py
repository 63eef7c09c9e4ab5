"""The gate: may a candidate replace the champion?

Measuring (``facts``, ``statistics``) and judging (``judgement``) are separate: the same facts and limits give the same
verdict in the command, the flows and CI.
"""

from velocity.gate.facts import Facts, Hypotheses, Model, Sizes, measure, recognise
from velocity.gate.judgement import Judgement, Row, Verdict, judge

__all__ = ["Facts", "Hypotheses", "Judgement", "Model", "Row", "Sizes", "Verdict", "judge", "measure", "recognise"]
