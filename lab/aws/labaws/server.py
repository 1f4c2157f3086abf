"""Puts the parts together and serves until it is told to stop."""

import signal
import threading

from werkzeug.serving import WSGIRequestHandler, make_server

from . import (
    balancer,
    front,
    machines,
    metadata,
    network,
    patches,  # noqa: F401
    settings,
    state,
    world,
)


class Quiet(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        """api.jsonl has every call."""

    def run_wsgi(self) -> None:
        """A connection closed on purpose is no error to report."""
        try:
            super().run_wsgi()
        except ConnectionError:
            self.close_connection = True


def run() -> int:
    """Serves; SIGTERM and SIGINT end everything, SIGUSR1 leaves haproxy to the next emulator."""
    now = settings.current
    world.FOLLOWERS[:] = [network.follow, balancer.follow, machines.send, state.follow]
    state.begin()
    with world.change():
        world.say("serving on", f"http://{now.host}:{now.port}", "state in", now.dir)
    server = make_server(now.host, now.port, front.application, threaded=True, request_handler=Quiet)
    if now.metadata:
        metadata.serve(now.metadata)
    leave, told = threading.Event(), threading.Event()

    def stop(number: int, _frame: object) -> None:
        """Starts no thread: the signal may come while one is being started, and would wait for it for ever."""
        if number == signal.SIGUSR1:
            leave.set()
        told.set()

    def end() -> None:
        told.wait()
        server.shutdown()

    threading.Thread(target=end, name="end", daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, stop)
    server.serve_forever()
    with world.LOCK:
        state.keep()
        if not leave.is_set():
            balancer.stop()
    machines.POOL.shutdown(wait=False, cancel_futures=True)
    return 0
