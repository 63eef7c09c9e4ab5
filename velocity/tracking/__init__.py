"""MLflow beside a run: the record of every training and evaluation, and what it was made from.

``velocity.run`` starts a stage with a journal (``velocity.journal``) and records it (``recorder``) in one MLflow run
(``ledger``). No stage imports this package, and no stage waits for MLflow.
"""
