"""A workspace with one environment, the built program, and the lab it is driven in.

The tests run outside of the lab's network; each call of the program enters it with `lab/lab exec`. `World.keep` and
`World.back` save and restore the lab, the workspace and the keys together: a test starts in the middle without making
what comes before.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
LAB = CHECKOUT / "lab/lab"
PROGRAM = Path(os.environ.get("SRE_E2E_PROGRAM", CHECKOUT / "target/debug/sre-provision"))
SCRATCH = Path(os.environ.get("SRE_E2E_DIR", "/var/tmp/sre-provision-e2e")) / os.environ.get("LAB_NAME", "lab")
NAME = "small"
# Nothing takes longer on a machine that is not ill; a test that waits longer fails with what it waited for.
LIMIT = float(os.environ.get("SRE_E2E_LIMIT", "1200"))
# What the program says as soon as it has heard a first Ctrl-C.
STOPPING = "stopping: "


@dataclass
class Ended:
    """A call of the program that has ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.err + self.out

    def line(self, word: str) -> str:
        """What stands after `cause:`, `hint:`, `log:` or `error:`; empty without such a line."""
        found = re.search(rf"^{word}:\s+(.*(?:\n {{7}}.*)*)", self.said, re.MULTILINE)
        return found[1] if found else ""


class World:
    """One environment, called `small` unless another name is given, in a workspace of its own."""

    def __init__(self, name: str = "main", environment: str = NAME):
        self.environment = environment
        self.dir = SCRATCH / name
        self.workspace = self.dir / "workspace"
        self.state = self.workspace / ".sre-provision" / environment
        self.assets = self.dir / "assets"
        (self.workspace / "environments").mkdir(parents=True, exist_ok=True)
        self.file = self.workspace / "environments" / f"{environment}.yaml"
        self.file.write_text((HERE / "small.yaml").read_text())
        shutil.rmtree(self.assets, ignore_errors=True)
        for part in ("ansible", "packer", "tofu"):
            shutil.copytree(CHECKOUT / part, self.assets / part, symlinks=True)

    # calling the program

    def variables(self, changed: dict[str, str | None]) -> list[str]:
        settings = {
            "SRE_PROVISION_ASSETS": str(self.assets),
            "XDG_CONFIG_HOME": str(self.dir / "config"),
            "NO_COLOR": "1",
        } | changed
        words = ["env"]
        words += [word for name, value in settings.items() if value is None for word in ("-u", name)]
        return words + [f"{name}={value}" for name, value in settings.items() if value is not None]

    def start(self, *words: str, **changed: str | None) -> "Running":
        """Starts the program; `changed` are variables to set, or with None to take away."""
        call = [LAB, "exec", "--", *self.variables(changed), PROGRAM, "--workspace", self.workspace, *words]
        process = subprocess.Popen(
            [str(word) for word in call],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return Running(process)

    def run(self, *words: str, limit: float = LIMIT, **changed: str | None) -> Ended:
        return self.ended(self.start(*words, **changed), limit)

    def ended(self, running: "Running", limit: float = LIMIT) -> Ended:
        try:
            code = running.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(running.process.pid, signal.SIGKILL)
            raise AssertionError(f"not done within {limit:.0f} s; it said:\n{running.err[-2000:]}") from None
        (self.dir / "last.log").write_text(running.err + running.out)
        return Ended(code, running.out, running.err)

    def up(self, **changed: str | None) -> Ended:
        return self.run("up", self.environment, "--yes", **changed)

    def down(self, *words: str) -> Ended:
        return self.run("down", self.environment, "--yes", *words)

    def plan(self) -> dict:
        """The plan as data: stage → its decision, and `nodes`."""
        ended = self.run("plan", self.environment, "--output", "json")
        if ended.code != 0:
            raise AssertionError(f"plan ended with {ended.code}:\n{ended.said}")
        plan = json.loads(ended.out.splitlines()[-1])["plan"]
        stages = {decision["stage"]: decision for decision in plan["decisions"]}
        return {"stages": stages, "nodes": plan["nodes"]}

    # the journal

    def journal(self, after: int = 0) -> list[dict]:
        """The entries, or those beyond the first so many: an entry never changes."""
        return entries_of(self.state, after)

    def put_away(self) -> Path:
        """Where `down` put what is kept of the environment that went last."""
        return max((self.workspace / ".sre-provision/gone").glob(f"{self.environment}-*"), key=lambda gone: gone.stat().st_mtime)

    def stop_at(self, moments: dict[str, list["Blow"]]) -> tuple[str | None, "Blow | None", Ended]:
        """Starts `up` and strikes it at the first of these moments that the journal tells, with that moment's first blow.

        Returns both (None when `up` came to its end without any of them) and how the program ended.
        """
        seen = len(self.journal())
        running = self.start("up", self.environment, "--yes")
        until = time.monotonic() + LIMIT
        while running.process.poll() is None and time.monotonic() < until:
            new = self.journal(seen)
            seen += len(new)
            told = [moment_of(entry) for entry in new]
            if moment := next((moment for moment in told if moments.get(moment)), None):
                blow = moments[moment][0]
                blow.strike(running)
                return moment, blow, self.ended(running)
            time.sleep(0.02)
        return None, None, self.ended(running)

    def wait_for_journal(self, moment: str, after: int, running: "Running") -> None:
        """Returns once the journal tells this moment beyond the first so many entries."""
        until = time.monotonic() + LIMIT
        while moment not in map(moment_of, self.journal(after)):
            if running.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the journal never told `{moment}`:\n{running.err[-2000:]}")
            time.sleep(0.02)

    def wait_until_as_described(self) -> None:
        """Machines that were brought back boot; returns when a look finds everything as it was."""
        until = time.monotonic() + LIMIT
        ended = self.run("plan", self.environment, "--detailed-exitcode")
        while ended.code != 0:
            if time.monotonic() > until:
                raise AssertionError(f"not as it was after {LIMIT:.0f} s:\n{ended.said}")
            ended = self.run("plan", self.environment, "--detailed-exitcode")

    def wait_until_nothing_runs(self) -> None:
        """What a killed program left running comes to its end by itself."""
        until = time.monotonic() + LIMIT
        while running := self.running():
            if time.monotonic() > until:
                raise AssertionError(f"after {LIMIT:.0f} s this runs on: {running}")
            time.sleep(0.1)

    def standing(self) -> set[str]:
        """The stages that a look finds as they were made."""
        return {name for name, decision in self.plan()["stages"].items() if decision["verdict"] == "reuse"}

    def note_what_stands(self) -> None:
        """For `wait_until_it_stands`, in every state that is kept from now on."""
        (self.dir / "stands.json").write_text(json.dumps(sorted(self.standing())))

    def wait_until_it_stands(self) -> None:
        """Machines that were brought back boot; returns when everything stands that stood when it was noted."""
        noted = self.dir / "stands.json"
        stood = set(json.loads(noted.read_text())) if noted.exists() else set()
        until = time.monotonic() + LIMIT
        while stood and (missing := stood - self.standing()):
            if time.monotonic() > until:
                raise AssertionError(f"after {LIMIT:.0f} s not as it was: {missing}")

    def machine(self, node: str) -> str:
        """The instance id of a node."""
        return self.machines_by_name()[node]

    def machines_by_name(self) -> dict[str, str]:
        """Node → instance id, of every live machine but those that images are built on."""
        named = [(node, machine) for node, machine in map(str.split, inside("live_machines").splitlines()) if node != "build"]
        if len(named) != len(dict(named)):
            raise AssertionError(f"a machine twice: {named}")
        return dict(named)

    def authorities(self) -> set[str]:
        """The digests of all cluster authorities that were ever recorded."""
        facts = [entry["value"] for entry in self.journal() if entry.get("name") == "servers/cluster"]
        return {fact["ca"] for fact in facts if fact}

    def running(self) -> list[str]:
        """Programs and supervisors of this workspace that run."""
        found = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                words = process.read_bytes().decode(errors="replace").replace("\0", " ")
                if str(self.workspace) in words:
                    found.append(words)
        return found

    def left_here(self, state: Path | None = None) -> list[str]:
        """What a stopped run leaves beside the platform: records of children, and plaintext or raw output on tmpfs."""
        state = state or self.state
        short = json.loads((state / "identity.json").read_text())["id"].split("-")[0]
        places = (Path(f"/run/user/{os.getuid()}/sre-provision"), Path(f"/dev/shm/sre-provision-{os.getuid()}"))
        plaintext = [path for place in places for path in place.glob(f"{short}/*")]
        # Raw output lies below the name of its child, which only the journal connects with the environment.
        children = [entry["id"] for entry in entries_of(state) if entry["kind"] == "child-started"]
        raw = [path for place in places for child in children if (path := place / child).exists()]
        return [str(path) for path in [*(state / "children").glob("*"), *plaintext, *raw]]

    # the lab

    def keep(self, name: str) -> None:
        lab("save", name)
        shutil.copytree(self.dir, SCRATCH / "kept" / name, symlinks=True)

    def back(self, name: str) -> None:
        lab("restore", name)
        shutil.rmtree(self.dir)
        shutil.copytree(SCRATCH / "kept" / name, self.dir, symlinks=True)

    def machines(self) -> list[str]:
        """The names of the live machines, one for each: a name twice is a machine twice."""
        return [line.split()[0] for line in inside("live_machines").splitlines()]


def world_that_is_up() -> World:
    """The environment up and serving: made once, then brought back. `before.json` in it is the inventory before."""
    world = World()
    if (SCRATCH / "kept/up").exists():
        world.back("up")
        world.wait_until_as_described()
        return world
    before = world.dir / "before.json"
    if not before.exists():  # what an `up` that failed has left is no part of what was before
        before.write_text(json.dumps(inventory()))
    ended = world.up()
    if ended.code != 0:
        raise AssertionError(f"the first up ended with {ended.code}:\n{ended.said}")
    world.keep("up")
    return world


class Running:
    """A call of the program that runs; what it says is collected as it comes."""

    def __init__(self, process: subprocess.Popen):
        self.process = process
        self.out = self.err = ""
        self.readers = [threading.Thread(target=self.read, args=(name,), daemon=True) for name in ("out", "err")]
        for reader in self.readers:
            reader.start()

    def read(self, name: str) -> None:
        with getattr(self.process, f"std{name}") as stream:
            for line in stream:
                setattr(self, name, getattr(self, name) + line)

    def wait(self, limit: float) -> int:
        """The exit code, once the program has ended and nothing holds its output open any more."""
        until = time.monotonic() + limit
        code = self.process.wait(limit)
        for reader in self.readers:
            reader.join(max(until - time.monotonic(), 1))
            if reader.is_alive():
                raise AssertionError(f"it ended with {code}, and something it left still holds its output open")
        return code

    def wait_until_said(self, words: str) -> None:
        """Returns once it has said this, or has ended without."""
        until = time.monotonic() + LIMIT
        while words not in self.err and self.process.poll() is None:
            if time.monotonic() > until:
                raise AssertionError(f"never said `{words}`:\n{self.err[-2000:]}")
            time.sleep(0.02)

    def wait_for_program(self) -> None:
        """Returns once the program runs in the lab, or has ended."""
        until = time.monotonic() + LIMIT
        while self.program() is None and self.process.poll() is None:
            if time.monotonic() > until:
                raise AssertionError("the program was never started")
            time.sleep(0.01)

    def program(self) -> int | None:
        """The program below the shell that entered the lab with it; None when it has ended."""
        pid = self.process.pid
        try:
            while Path(f"/proc/{pid}/exe").resolve() != PROGRAM.resolve():
                pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        except (FileNotFoundError, IndexError, ProcessLookupError):
            return None
        return pid


class Blow(Enum):
    """What strikes a program that runs."""

    KILL = "kill -9"
    KILL_GROUP = "kill -9 of its process group"
    CTRL_C = "Ctrl-C"
    CTRL_C_TWICE = "Ctrl-C twice"

    def strike(self, running: "Running") -> None:
        pid = running.program()
        if pid is None:
            return
        match self:
            case Blow.KILL:
                os.kill(pid, signal.SIGKILL)
            case Blow.KILL_GROUP:
                os.killpg(os.getpgid(pid), signal.SIGKILL)
            case Blow.CTRL_C:
                os.killpg(os.getpgid(pid), signal.SIGINT)
            case Blow.CTRL_C_TWICE:
                os.killpg(os.getpgid(pid), signal.SIGINT)
                running.wait_until_said(STOPPING)
                with contextlib.suppress(ProcessLookupError):  # it may have ended meanwhile
                    os.killpg(os.getpgid(running.process.pid), signal.SIGINT)

    def strike_after(self, pause: float, running: "Running") -> None:
        """Strikes it when it has run for so many seconds, unless it has ended by then."""
        try:
            running.process.wait(pause)
        except subprocess.TimeoutExpired:
            self.strike(running)

    def codes(self) -> set[int]:
        """What the caller sees: the shell that entered the lab tells a killed child as 128 and the signal."""
        match self:
            case Blow.KILL:
                return {128 + signal.SIGKILL}
            case Blow.KILL_GROUP:
                return {-signal.SIGKILL}
            case Blow.CTRL_C | Blow.CTRL_C_TWICE:
                return {130}


def entries_of(state: Path, after: int = 0) -> list[dict]:
    """The journal's entries in a state directory, beyond the first so many."""
    entries = sorted((state / "journal").glob("[0-9]*.json"))
    return [json.loads(entry.read_text()) for entry in entries[after:]]


def moment_of(entry: dict) -> str | None:
    """`network` or `access/server-1` for an intent, `tool network-apply` for a child that was started, `fact NAME`."""
    match entry["kind"]:
        case "intent":
            return "/".join(part for part in (entry["stage"], entry.get("step")) if part)
        case "child-started":
            return f"tool {entry['slot']}"
        case "fact":
            return f"fact {entry['name']}"
    return None


def lab(*words: str) -> str:
    done = subprocess.run([str(LAB), *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"lab {' '.join(words)}: {done.stderr or done.stdout}")
    return done.stdout


def inside(script: str, *words: str) -> str:
    """Runs one of the small programs beside this file in the lab's network."""
    return lab("exec", "--", "python3", str(HERE / f"{script}.py"), *words)


def releases() -> Path:
    """Where the lab keeps the releases that it serves."""
    name = os.environ.get("LAB_NAME", "lab")
    return Path(os.environ.get("SRE_LAB_DIR", f"/var/lib/sre-lab/{name}")) / "releases"


def inventory(images: bool = False) -> dict[str, list[str]]:
    """Kind → ids of everything that lives in the account; images and their snapshots aside, unless asked for."""
    found = json.loads(lab("exec", "--", str(CHECKOUT / "lab/aws/inventory")))
    return {kind: ids for kind, ids in found.items() if images or kind not in ("images", "snapshots")}


def left_behind(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, int]:
    """Kind → how many of it are new."""
    new = {kind: len(set(ids) - set(before.get(kind, []))) for kind, ids in after.items()}
    return {kind: count for kind, count in new.items() if count}
