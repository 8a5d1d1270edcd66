"""Active learning: which units (slices, patches) to annotate next."""
