"""One strategy per file. A file here, or one that a user imports, registers itself under the name users call it by."""
