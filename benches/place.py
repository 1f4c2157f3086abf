"""Where a bench runs: a lab, a workspace with one environment, and the built program."""

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
LAB = CHECKOUT / "lab/lab"
PROGRAM = Path(os.environ.get("SRE_BENCH_PROGRAM", CHECKOUT / "target/debug/sre-provision"))
LAB_NAME = os.environ.setdefault("LAB_NAME", "bench")
WORKSPACE = Path(os.environ.get("SRE_BENCH_DIR", "/var/tmp/sre-provision-bench")) / LAB_NAME


def lab(*words: str) -> None:
    """Calls the lab's own command; ends the bench where that fails."""
    done = subprocess.run([LAB, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: `lab/lab {' '.join(words)}` ended with {done.returncode}\ncause: {(done.stderr or done.stdout).strip()}")


def in_lab(*words: str | Path) -> list[str | Path]:
    """A call that runs in the lab's network, with its variables."""
    return [LAB, "exec", "--", *words]


def program(*words: str) -> list[str | Path]:
    """A call of the program in the bench's workspace; to be run in the lab."""
    return [PROGRAM, "--workspace", WORKSPACE, "--assets", CHECKOUT, *words]


def prepare(environment: Path) -> str:
    """Brings the lab up and puts the environment file into the workspace; gives the environment's name."""
    if os.geteuid() != 0:
        sys.exit(f"error: the lab makes network namespaces and machines, which needs root\nhint:  sudo -E {sys.argv[0]}")
    if not PROGRAM.exists():
        sys.exit(f"error: `{PROGRAM}` is not built\nhint:  cargo build")
    lab("up")
    (WORKSPACE / "environments").mkdir(parents=True, exist_ok=True)
    shutil.copy(environment, WORKSPACE / "environments")
    return environment.stem


def state(name: str) -> Path:
    return WORKSPACE / ".sre-provision" / name


def identity(name: str) -> dict:
    return json.loads((state(name) / "identity.json").read_text())


def machine() -> str:
    """The size of this machine and how busy it is: without that no figure means anything."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, load {os.getloadavg()[0]:.1f}"


def spread(times: list[float]) -> str:
    return f"{statistics.median(times):6.2f} s  ({min(times):.2f} to {max(times):.2f})"


def verdict(ratio: float, goal: float, limit: float) -> int:
    """Says how the ratio stands to the goal; the exit code."""
    met = "met" if ratio <= goal else "missed"
    print(f"ratio {ratio:.3f} · goal {goal} {met} · fails above {limit}")
    return 0 if ratio <= limit else 1
