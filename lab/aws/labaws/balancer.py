"""The load balancers as one haproxy: a configuration made from the API's state, reloaded when it changes.

Each NLB address has a backend of its own per target group, so that connections leave from the address they came to.
Cross-zone balancing off: targets of the address's zone come first, others only when none of those is healthy (AWS
would take the zone's address out of the name instead). preserve_client_ip.enabled is done with transparent sockets:
the target sees the client's address, and a target that reaches itself this way gets no answer, as at AWS. haproxy
runs on when the emulator is killed; the next one takes it over.
"""

import hashlib
import os
import select
import signal
import subprocess
import threading
import time
from pathlib import Path

from . import health, settings, world

DIVERT = 4566  # mark and routing table of the packets that go back to a transparent socket
PATIENCE = 5.0  # seconds haproxy is given before it is told again
TRIES = 3
FOLLOWING = threading.Lock()
written = ""


def configuration() -> str:
    """The whole haproxy.cfg; empty when there is nothing to forward."""
    parts: list[str] = []
    backends: dict[str, str] = {}
    for elb in world.elb():
        for balancer in elb.load_balancers.values():
            if balancer.type == "network":
                for listener in balancer.listeners.values():
                    parts += frontends(elb, balancer, listener, backends)
    if not parts:
        return ""
    body = "\n".join([*parts, *backends.values()])
    return HEADER.format(dir=settings.current.dir, digest=digest(body)) + "\n" + body


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


HEADER = """\
global
    node {digest}
    stats socket {dir}/haproxy.sock mode 600 level admin expose-fd listeners
    server-state-file {dir}/haproxy.state
    hard-stop-after 300s
    maxconn 4000
defaults
    mode tcp
    load-server-state-from-file global
    timeout connect 5s
    timeout client 350s
    timeout server 350s
"""


def frontends(elb, balancer, listener, backends) -> list[str]:
    arns = [arn for action in listener.default_actions for arn in group_arns(action.data)]
    if not arns or arns[0] not in elb.target_groups:
        return []
    group = elb.target_groups[arns[0]]
    made = []
    for subnet in balancer.subnets:
        address = balancer.lab_addresses[subnet.id].private_ip_address
        name = backend_name(group, address)
        backends.setdefault(name, backend(name, group, balancer, subnet, address))
        front = f"f_{balancer.arn.rsplit('/', 1)[1]}_{listener.port}_{address}"
        made.append(f"frontend {front}\n    bind {address}:{listener.port}\n    default_backend {name}\n")
    return made


def group_arns(action: dict) -> list[str]:
    if action.get("TargetGroupArn"):
        return [action["TargetGroupArn"]]
    return [g["TargetGroupArn"] for g in action.get("ForwardConfig", {}).get("TargetGroups", [])]


def backend_name(group, address: str) -> str:
    return f"b_{group.arn.rsplit('/', 1)[1]}_{address}"


def server_name(target_id: str) -> str:
    return f"s_{target_id}"


def is_on(value: object) -> bool:
    return str(value).lower() == "true"


def crosses_zones(group, balancer) -> bool:
    own = str(group.attributes.get("load_balancing.cross_zone.enabled", ""))
    return is_on(balancer.attrs["load_balancing.cross_zone.enabled"] if own.startswith("use_") else own)


def backend(name, group, balancer, subnet, address) -> str:
    preserved = is_on(group.attributes.get("preserve_client_ip.enabled"))
    sticky = is_on(group.attributes.get("stickiness.enabled"))
    lines = [
        f"backend {name}",
        f"    balance {'source' if sticky else 'roundrobin'}",
        f"    source {address}{' usesrc clientip' if preserved else ''}",
        f"    timeout check {group.health_check_timeout_seconds}s",
        *health_check(group),
    ]
    for target_id, target in group.targets.items():
        place = placed(group, target_id)
        if place:
            ip, zone = place
            reserve = zone != subnet.availability_zone and not crosses_zones(group, balancer)
            lines.append(server(group, target_id, ip, target["Port"], reserve))
    return "\n".join(lines) + "\n"


def placed(group, target_id: str) -> tuple[str, str | None] | None:
    """A target's address and zone, or None while it cannot be reached."""
    if not target_id.startswith("i-"):
        return target_id, None
    instance = group.ec2_backend.get_instance_by_id(target_id)
    if instance is None or instance._state.name not in ("running", "stopping", "shutting-down"):
        return None
    return instance.private_ip, instance.availability_zone


def health_check(group) -> list[str]:
    if group.health_check_protocol not in ("HTTP", "HTTPS"):
        return []
    codes = (group.matcher or {}).get("HttpCode", "200-399")
    return [
        "    option httpchk",
        f"    http-check send meth GET uri {group.health_check_path or '/'} ver HTTP/1.1 hdr Host health",
        f"    http-check expect status {codes}",
    ]


def server(group, target_id, ip, port, reserve) -> str:
    words = [
        f"    server {server_name(target_id)} {ip}:{port} check inter {group.health_check_interval_seconds}s",
        f"rise {group.healthy_threshold_count} fall {group.unhealthy_threshold_count}",
    ]
    if str(group.health_check_port).isdigit():
        words.append(f"port {group.health_check_port}")
    if group.health_check_protocol == "HTTPS":
        words.append("check-ssl verify none")
    if is_on(group.attributes.get("proxy_protocol_v2.enabled")):
        words.append("send-proxy-v2 no-check-send-proxy")
    if reserve:
        words.append("backup")
    return " ".join(words)


def follow() -> None:
    """A follower of world.change: writes the configuration and reloads haproxy if it differs.

    One at a time: two changes at the same moment would each start a haproxy, and the second listens beside the first.
    """
    if settings.current.haproxy:
        with FOLLOWING:
            catch_up()


def catch_up() -> None:
    global written
    wanted = configuration()
    if wanted == written and (not wanted or master()):
        return
    written = wanted
    path = put("haproxy.cfg", wanted)
    if not wanted:
        stop()
        return
    if "usesrc" in wanted:
        divert()
    checked = subprocess.run(["haproxy", "-c", "-q", "-f", path], capture_output=True, text=True)
    if checked.returncode != 0:
        world.say("haproxy refuses its configuration:", checked.stderr.strip())
        return
    if not serve(path, wanted):
        written = ""  # the next change tells it again
    health.watch()


def serve(path: Path, wanted: str) -> bool:
    """Starts haproxy or makes it reload, and waits until it serves this configuration; whether it does.

    A signal during its start would be lost, and of two reloads under way the later starts from what was known of the
    targets before the earlier: a target that has become healthy in between would be down again.
    """
    node = f"node: {digest(wanted.split(chr(10) * 2, 1)[1])}"
    for _ in range(TRIES):
        put("haproxy.state", health.server_states(wanted))
        running = master()
        if running:
            os.kill(running, signal.SIGUSR2)
        else:
            start(path)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if node in health.tell("show info"):
                return True
            time.sleep(0.02)
        world.say("haproxy did not take its configuration")
    return False


def start(path: Path) -> None:
    with (settings.current.dir / "haproxy.log").open("ab") as log:
        child = subprocess.Popen(
            ["haproxy", "-W", "-f", path], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    put("haproxy.pid", str(child.pid))


def master() -> int | None:
    """The running haproxy's master process, also one that an earlier emulator started."""
    try:
        pid = int((settings.current.dir / "haproxy.pid").read_text())
        os.waitpid(pid, os.WNOHANG)
    except (FileNotFoundError, ValueError):
        return None
    except ChildProcessError:
        pass
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return pid if b"haproxy" in command and str(settings.current.dir).encode() in command else None


def stop() -> None:
    """Ends haproxy and waits for its end, so that a next one finds its addresses free."""
    pid = master()
    if pid:
        end = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        if not select.select([end], [], [], 5)[0]:
            os.killpg(pid, signal.SIGKILL)
        os.close(end)
        master()  # reaps it
    (settings.current.dir / "haproxy.pid").unlink(missing_ok=True)


def put(name: str, text: str) -> Path:
    """Writes a file whole or not at all: haproxy may be reading it."""
    path = settings.current.dir / name
    temporary = path.with_name(f".{name}")
    temporary.write_text(text)
    return temporary.replace(path)


def divert() -> None:
    """Packets of transparent sockets' connections come back to haproxy instead of going on to the client."""
    rules = (
        "table inet lab_balancer\ndelete table inet lab_balancer\ntable inet lab_balancer {\n"
        "  chain divert {\n    type filter hook prerouting priority mangle;\n"
        f"    meta l4proto tcp socket transparent 1 meta mark set {DIVERT} accept\n  }}\n}}\n"
    )
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    listed = subprocess.run(["ip", "rule", "show"], capture_output=True, text=True, check=True).stdout
    if f"lookup {DIVERT}" not in listed:
        subprocess.run(["ip", "rule", "add", "fwmark", str(DIVERT), "lookup", str(DIVERT)], check=True)
    route = ["ip", "route", "replace", "local", "0.0.0.0/0", "dev", "lo", "table", str(DIVERT)]
    subprocess.run(route, check=True)
