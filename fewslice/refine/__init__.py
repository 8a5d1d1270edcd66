"""Pseudo-labels: made by a network, refined by a dense CRF, selected and counted."""
