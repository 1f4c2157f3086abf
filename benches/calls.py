"""The AWS API calls of one `up`, taken down by a proxy and made again by hand in the same concurrency."""

import contextlib
import http.client
import http.server
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# Of one connection, not of the call.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


@dataclass
class Call:
    """One request as it was sent, and when it went on."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    begin: float
    end: float = 0.0

    @property
    def name(self) -> str:
        form = dict(part.split("=", 1) for part in self.body.decode("utf-8", "replace").split("&") if "=" in part)
        return form.get("Action") or self.headers.get("X-Amz-Target", f"{self.method} {self.path}")


@dataclass
class Recorder:
    """A proxy in front of the API; `calls` are those that went through it."""

    target: str
    calls: list[Call] = field(default_factory=list)

    def __enter__(self) -> "Recorder":
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                call = Call(self.command, self.path, dict(self.headers), body, time.monotonic())
                recorder.calls.append(call)
                status, headers, answer = send(recorder.target, call)
                call.end = time.monotonic()
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = pass_on

            def log_message(self, *_: object) -> None:
                """Says nothing: the bench prints what matters."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


def send(target: str, call: Call) -> tuple[int, list, bytes]:
    """Makes the call; gives status, headers and body."""
    headers = {name: value for name, value in call.headers.items() if name.lower() not in HOP_BY_HOP - {"host"}}
    with contextlib.closing(http.client.HTTPConnection(urlsplit(target).netloc)) as connection:
        connection.request(call.method, call.path, body=call.body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()


def waits(calls: list[Call]) -> list[list[int]]:
    """For each call those that had ended when it was begun: it may have needed their answers."""
    return [[number for number, other in enumerate(calls) if other.end <= call.begin] for call in calls]


def again(target: str, calls: list[Call]) -> float:
    """Makes the calls anew, each as soon as those before it are answered; gives the seconds from first to last."""
    done = [threading.Event() for _ in calls]
    failed: list[str] = []

    def make(number: int, before: list[int]) -> None:
        for other in before:
            done[other].wait()
        try:
            status, _, answer = send(target, calls[number])
            if status >= 400:
                failed.append(f"{calls[number].name}: {status} {answer[:300].decode(errors='replace')}")
        except OSError as error:
            failed.append(f"{calls[number].name}: {error}")
        finally:
            done[number].set()

    threads = [threading.Thread(target=make, args=(number, before)) for number, before in enumerate(waits(calls))]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(calls)} calls were refused: {failed[0]}")
    return took
