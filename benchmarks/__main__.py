"""The command `python -m benchmarks <name> [--<option>=<value>,<value> ...]`."""

from benchmarks import cases, harness  # noqa: F401  all benchmarks

if __name__ == "__main__":
    harness.main()
