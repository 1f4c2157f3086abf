"""The longest chain of work in one run, read from its journal.

Work is what tools and nodes did: a child process from its start to its end, a node's RKE2 service from its start to the
node's being ready. Everything else (asking the platform, waiting between two looks, booting a machine to check an
image, writing the journal) is ours. Nothing is guessed: the times are those of `child-started`, `child-ended`,
`start/<node>` (docs/state.md), and a stage needs those whose artifacts its intent names and that had ended by then.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


@dataclass
class Piece:
    """One child process, or one node's service until the node was ready."""

    name: str
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass
class Stage:
    """A stage of the run from its first intent to its last outcome."""

    name: str
    begin: float
    end: float = 0.0
    needs: list[str] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    @property
    def work(self) -> float:
        """Time in which at least one piece went on."""
        total, until = 0.0, self.begin
        for piece in sorted(self.pieces, key=lambda piece: piece.begin):
            begin, end = max(piece.begin, until), min(piece.end, self.end)
            if end > begin:
                total, until = total + end - begin, end
        return total


@dataclass
class Run:
    """What a journal tells of one run."""

    number: int
    begin: float
    end: float
    outcome: str
    stages: dict[str, Stage]

    def chain(self) -> list[Stage]:
        """The stages that follow from each other with the most work in sum, in their order."""
        best: dict[str, tuple[float, list[Stage]]] = {}
        for stage in sorted(self.stages.values(), key=lambda stage: stage.begin):
            before = max((best[need] for need in stage.needs), key=longer, default=(0.0, []))
            best[stage.name] = (before[0] + stage.work, [*before[1], stage])
        return max(best.values(), key=longer, default=(0.0, []))[1]


def longer(way: tuple[float, list[Stage]]) -> tuple[float, int]:
    """More work; of the same work the way with more stages, which tells more."""
    return way[0], len(way[1])


def moment(text: str) -> float:
    """Seconds since 1970 of a time in the journal."""
    return datetime.fromisoformat(text).timestamp()


def seconds(text: str) -> float:
    """The length of an ISO 8601 duration such as `PT1M46.47S`."""
    found = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?", text)
    if not found:
        raise ValueError(f"`{text}` is no duration")
    hours, minutes, rest = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + rest


def entries(journal: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted(journal.glob("[0-9]*.json"))]


def read(journal: list[dict], number: int | None = None) -> Run:
    """The run of that number, else the last one that began."""
    if number is None:
        number = max(entry["run"] for entry in journal if entry["kind"] == "run-started")
    own = [entry for entry in journal if entry["run"] == number]
    [begun] = [entry for entry in own if entry["kind"] == "run-started"]
    ended = next((entry for entry in own if entry["kind"] == "run-ended"), own[-1])
    stages: dict[str, Stage] = {}
    children: dict[str, tuple[str, float]] = {}
    steps: dict[str, str] = {}
    for entry in own:
        admit(entry, stages, children, steps)
    # A stage that was killed has no outcome; it went on until the run ended.
    for stage in stages.values():
        stage.end = stage.end or moment(ended["time"])
    return Run(number, moment(begun["time"]), moment(ended["time"]), ended.get("outcome", "indeterminate"), stages)


def admit(entry: dict, stages: dict[str, Stage], children: dict[str, tuple[str, float]], steps: dict[str, str]) -> None:
    """Adds what one entry tells."""
    time, kind = moment(entry["time"]), entry["kind"]
    if kind == "intent" and entry.get("step"):
        steps[entry["step"]] = entry["stage"]
    elif kind == "intent" and entry["stage"] not in stages:
        made = [name for name in entry["reading"] if name in stages and stages[name].end]
        stages[entry["stage"]] = Stage(entry["stage"], time, needs=made)
    elif kind == "outcome" and not entry.get("step") and entry["stage"] in stages:
        stages[entry["stage"]].end = time
    elif kind == "child-started":
        children[entry["id"]] = (entry["slot"], time)
    elif kind == "child-ended" and entry["id"] in children:
        slot, begin = children.pop(entry["id"])
        end = begin + seconds(entry["took"]) if "took" in entry else time
        stage_of(slot, stages).pieces.append(Piece(slot, begin, end))
    elif kind == "fact" and entry["name"].startswith("start/") and entry["value"]:
        node, value = entry["name"].removeprefix("start/"), entry["value"]
        piece = Piece(f"{node} until ready", moment(value["started"]), moment(value["ready"]))
        stages[steps[node]].pieces.append(piece)


def stage_of(slot: str, stages: dict[str, Stage]) -> Stage:
    """The stage that a slot such as `node-image-build` belongs to."""
    owners = [name for name in stages if slot.startswith(f"{name}-")]
    return stages[max(owners, key=len)]
