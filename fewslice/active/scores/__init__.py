"""One score of uncertainty per file. A file here, or one that a user imports, registers itself under its name.

A score is a function of the running sums over passes, `fewslice.active.uncertainty.PassStatistics`.
"""
