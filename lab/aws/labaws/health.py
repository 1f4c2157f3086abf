"""haproxy's view of the targets, in the words of DescribeTargetHealth.

A new target starts down in haproxy (by its server-state file) and is `initial` until its first check; one passed check
makes it healthy, as AWS documents, which a small watcher sees to. From then on the thresholds decide.
"""

import csv
import io
import re
import socket
import threading
import time

from . import balancer, settings, world

STATE_FILE_HEADER = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port\n"
)
watching = threading.Lock()


def tell(command: str) -> str:
    """One command to haproxy's socket; empty when nobody answers."""
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(2)
            door.connect(str(settings.current.dir / "haproxy.sock"))
            door.sendall(command.encode() + b"\n")
            answer = b""
            while piece := door.recv(65536):
                answer += piece
            return answer.decode()
    except OSError:
        return ""


def servers() -> dict[tuple[str, str], dict]:
    """Backend and server name → haproxy's statistics line."""
    text = tell("show stat -1 4 -1").removeprefix("# ")
    return {(row["pxname"], row["svname"]): row for row in csv.DictReader(io.StringIO(text))}


def server_states(configuration: str) -> str:
    """What haproxy is to know of each server when it starts again: as it was; a new one is down."""
    known = {}
    for line in tell("show servers state").splitlines():
        words = line.split()
        if len(words) > 10 and words[0] != "#":
            known[words[1], words[3]] = line
    lines, name, backends = [], "", 0
    for line in configuration.splitlines():
        words = line.split()
        if words[:1] == ["backend"]:
            name, backends = words[1], backends + 1
        elif words[:1] == ["server"]:
            ip, port = words[2].rsplit(":", 1)
            fresh = f"{backends} {name} 1 {words[1]} {ip} 0 0 1 1 0 1 0 0 6 0 0 0 - {port} - 0 0 - - 0"
            lines.append(known.get((name, words[1]), fresh))
    return STATE_FILE_HEADER + "\n".join(lines) + "\n"


def of(group, target_id: str) -> tuple[str, str | None, str | None]:
    """State, reason code and description of one target."""
    if target_id in group.lab_draining:
        return "draining", "Target.DeregistrationInProgress", "Target deregistration is in progress"
    if target_id not in group.targets:
        return "unused", "Target.NotRegistered", "Target is not registered to the target group"
    rows = rows_of(group, target_id)
    if not used(group):
        words = "Target group is not configured to receive traffic from the load balancer"
        return "unused", "Target.NotInUse", words
    if balancer.placed(group, target_id) is None:
        return "unused", "Target.InvalidState", "Target is in the stopped state"
    return judged(group, target_id, rows)


def judged(group, target_id: str, rows: list[dict]) -> tuple[str, str | None, str | None]:
    if rows and all(row["status"].startswith("UP") for row in rows):
        return "healthy", None, None
    if not rows:
        return "initial", "Elb.RegistrationInProgress", "Target registration is in progress"
    age = time.time() - group.lab_since.get(target_id, 0)
    tries = int(group.unhealthy_threshold_count) * int(group.health_check_interval_seconds)
    if target_id not in group.lab_passed and age < tries:
        return "initial", "Elb.InitialHealthChecking", "Initial health checks in progress"
    return "unhealthy", "Target.FailedHealthChecks", "Health checks failed"


def rows_of(group, target_id: str) -> list[dict]:
    identity = group.arn.rsplit("/", 1)[1]
    name = balancer.server_name(target_id)
    return [row for (be, sv), row in servers().items() if sv == name and be.startswith(f"b_{identity}_")]


def used(group) -> bool:
    for elb in world.elb():
        for lb in elb.load_balancers.values():
            for listener in lb.listeners.values():
                if any(group.arn in balancer.group_arns(action.data) for action in listener.default_actions):
                    return True
    return False


def watch() -> None:
    """Starts the watcher unless it runs."""
    if watching.acquire(blocking=False):
        threading.Thread(target=promote, name="health", daemon=True).start()


def promote() -> None:
    """Sets targets up whose first check passed; ends when no target is new any more."""
    try:
        while new_targets():
            with world.change():
                up()
            time.sleep(1)
    finally:
        watching.release()
    if new_targets():  # one that came after the last look found the watcher still there
        watch()


def new_targets() -> bool:
    """Is there a target that has never been healthy?"""
    with world.LOCK:
        groups = [group for elb in world.elb() for group in elb.target_groups.values()]
        return any(set(group.targets) - group.lab_passed for group in groups if used(group))


def up() -> None:
    """A target has passed when it is up at every address of its load balancers."""
    groups = {g.arn.rsplit("/", 1)[1]: g for elb in world.elb() for g in elb.target_groups.values()}
    found: dict[tuple[str, str], list[tuple[str, dict]]] = {}
    for (be, sv), row in servers().items():
        key = (be.removeprefix("b_").split("_")[0], sv.removeprefix("s_"))
        found.setdefault(key, []).append((f"{be}/{sv}", row))
    for (identity, target_id), rows in found.items():
        group = groups.get(identity)
        if group is None or target_id not in group.targets or target_id in group.lab_passed:
            continue
        down = [(name, row) for name, row in rows if not row["status"].startswith("UP")]
        for name, row in down:
            if re.search(r"L\dOK", row["check_status"]):
                tell(f"set server {name} health up")
        if not down:
            group.lab_passed.add(target_id)
