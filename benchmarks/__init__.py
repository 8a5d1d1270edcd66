"""Speed and memory of the optimised parts; see README.md in this folder."""
