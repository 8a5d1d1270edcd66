"""Uncertainty scores, one family per file, registered under the names that experiments use.

The contract is that of `fewslice.active.uncertainty.register`; a file here, or one that a user imports, adds a score.
"""
