"""Names that a test registers, and what is there without them."""

import contextlib


@contextlib.contextmanager
def temporary(registry):
    """Forgets what is registered within a block when it ends."""
    registry.load()
    kept = dict(registry._objects), dict(registry._origins)
    try:
        yield registry
    finally:
        registry._objects, registry._origins = kept
