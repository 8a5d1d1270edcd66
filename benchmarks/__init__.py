"""The fast parts measured against the same work written plainly; see README.md in this folder."""
