"""Measuring in processes of their own: seconds, and the largest memory by the system's count.

Two kinds of memory: what the process allocated, which must stay in memory, and the pages of mapped files beside it,
which the system drops when it needs room. The system's own high mark counts both.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Watch:
    """Seconds and memory of a block.

    Attributes:
        wall: Seconds that passed.
        cpu: Processor seconds of all threads.
        allocated: Largest growth in MiB of what the process allocated, looked at 50 times a second.
        peak: High mark of the process in the block in MiB, mapped pages too.
        growth: `peak` less what was resident before the block.
    """

    def __enter__(self) -> Watch:
        self.allocated, self.stopped = 0.0, threading.Event()
        self.start, self.resident = allocated_mib(), _status_mib("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the high mark begins anew
        self.thread = threading.Thread(target=self._sample)
        self.thread.start()
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_) -> None:
        self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        self.stopped.set()
        self.thread.join()
        self.peak = _status_mib("VmHWM")
        self.growth = self.peak - self.resident

    def _sample(self) -> None:
        while not self.stopped.wait(0.02):
            self.allocated = max(self.allocated, allocated_mib() - self.start)

    def figures(self) -> dict[str, float]:
        """Returns all figures by name."""
        return {name: getattr(self, name) for name in ("wall", "cpu", "allocated", "peak", "growth")}


def allocated_mib() -> float:
    """Returns what this process has allocated and touched, without mapped files, in MiB."""
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - shared) * resource.getpagesize() / 2**20


def _status_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def run(module: str, flags: Mapping[str, Any], *, threads: int = 1) -> dict[str, Any]:
    """Runs `python -m module --name=value ...` and returns the JSON in the last line of what it prints.

    Args:
        module: Of this package.
        flags: Name -> value.
        threads: Of NumPy's matrix products and of TensorFlow.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    environment = {**os.environ, "TF_NUM_INTEROP_THREADS": "1", **dict.fromkeys(names, str(threads))}
    command = [sys.executable, "-m", module, *(f"--{name}={value}" for name, value in flags.items())]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return json.loads(output.strip().splitlines()[-1])
