"""The command `emulator`: serve, and what is asked of a serving one."""

import argparse
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

from . import settings


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="emulator", description="The lab's AWS API.")
    parser.add_argument("--port", type=int, default=4566, help="port on the loopback address (default 4566)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve", help="serve until SIGTERM, or SIGUSR1, which leaves haproxy running")
    serve.add_argument("--port", type=int, default=argparse.SUPPRESS)
    serve.add_argument("--dir", type=Path, required=True, help="state, log and haproxy's files")
    serve.add_argument("--machine", default="", help="the machine command; without it nothing boots")
    serve.add_argument("--consoles", type=Path, help="folder of <instance>/console.log (default: DIR/../machines)")
    serve.add_argument("--metadata", default="", help="ADDRESS:PORT of the instance metadata; empty for none")
    serve.add_argument("--no-haproxy", action="store_true", help="no load balancer: targets stay initial")
    serve.add_argument("--settle", type=float, default=2.0, help="seconds that NAT gateways and NLBs take")
    for verb in ("save", "restore"):
        verbs.add_parser(verb, help=f"{verb} the whole state as FILE").add_argument("file", type=Path)
    verbs.add_parser("poweroff", help="the guest of instance ID switched itself off").add_argument("id")
    fault = verbs.add_parser("fault", help="plant, list or clear faults")
    fault.add_argument("what", choices=("plant", "list", "clear"))
    fault.add_argument("keys", nargs="*", metavar="KEY=VALUE", help="action= error= status= count= delay= lose_answer=")
    verbs.add_parser("ready", help="exit 0 when the emulator answers")
    return parser


def main(words: list[str] | None = None) -> int:
    given = arguments().parse_args(words)
    if given.verb == "serve":
        return serve(given)
    asked = {
        "save": lambda: ("POST", "save", {"file": str(given.file.resolve())}),
        "restore": lambda: ("POST", "restore", {"file": str(given.file.resolve())}),
        "poweroff": lambda: ("POST", "poweroff", {"id": given.id}),
        "ready": lambda: ("GET", "ready", None),
        "fault": lambda: fault_request(given),
    }[given.verb]()
    return ask(given.port, *asked)


def fault_request(given) -> tuple[str, str, dict | None]:
    method = {"plant": "POST", "list": "GET", "clear": "DELETE"}[given.what]
    keys: dict = dict(pair.split("=", 1) for pair in given.keys)
    if "lose_answer" in keys:
        keys["lose_answer"] = keys["lose_answer"].lower() in ("true", "1", "yes")
    return method, "fault", keys if method == "POST" else None


def ask(port: int, method: str, door: str, body: dict | None) -> int:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/lab/{door}", data, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            print(answer.read().decode(), end="")
            return 0
    except urllib.error.HTTPError as wrong:
        print(f"emulator: {wrong.read().decode().strip()}", file=sys.stderr)
    except OSError as wrong:
        print(f"emulator: nothing answers on port {port}: {wrong}", file=sys.stderr)
    return 1


def serve(given) -> int:
    metadata = given.metadata.rsplit(":", 1) if given.metadata else None
    settings.prepare(
        settings.Settings(
            dir=given.dir.resolve(),
            port=given.port,
            machine=settings.words(given.machine),
            consoles=given.consoles,
            metadata=(metadata[0], int(metadata[1])) if metadata else None,
            haproxy=not given.no_haproxy,
            settle=given.settle,
        )
    )
    from . import server  # moto reads its environment at import: only now

    return server.run()


if __name__ == "__main__":
    sys.exit(main())
