"""What the fast parts bring, measured against the same work written plainly; see README.md in this folder."""
