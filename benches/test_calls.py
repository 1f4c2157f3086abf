"""Calls pass through the recorder unchanged and are made again in their order. Run: python3 -m unittest discover benches"""

import http.server
import threading
import time
import unittest
import urllib.error
import urllib.request

import calls


class Api(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked; counts how many it answers at a time."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    now = 0
    most = 0
    asked: list[str] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with Api.lock:
            Api.asked.append(body.decode())
            Api.now += 1
            Api.most = max(Api.most, Api.now)
        time.sleep(0.02)
        with Api.lock:
            Api.now -= 1
        self.send_response(400 if b"Refused" in body else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody wants to read it."""


class Calls(unittest.TestCase):
    def setUp(self) -> None:
        Api.now, Api.most, Api.asked = 0, 0, []
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.target = f"http://127.0.0.1:{server.server_port}"

    def test_what_went_through_the_recorder_is_known_and_was_answered(self):
        with calls.Recorder(self.target) as recorder:
            answer = urllib.request.urlopen(recorder.url, data=b"Action=DescribeVpcs&Version=1").read()

        [call] = recorder.calls
        self.assertEqual((answer, call.name, call.end > call.begin), (b"Action=DescribeVpcs&Version=1", "DescribeVpcs", True))

    def test_a_refusal_is_passed_on(self):
        with calls.Recorder(self.target) as recorder, self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(recorder.url, data=b"Action=Refused")

        self.assertEqual(refused.exception.code, 400)
        refused.exception.close()

    def test_calls_that_went_side_by_side_do_so_again_and_others_wait(self):
        def call(name: str, begin: float, end: float) -> calls.Call:
            return calls.Call("POST", "/", {}, f"Action={name}".encode(), begin, end)

        first, two, three = call("First", 0, 1), call("Two", 2, 4), call("Three", 3, 5)

        took = calls.again(self.target, [first, two, three])

        self.assertEqual(calls.waits([first, two, three]), [[], [0], [0]])
        self.assertEqual((Api.asked[0], Api.most), ("Action=First", 2))
        self.assertGreater(took, 0.04)

    def test_a_refused_call_is_no_measure(self):
        with self.assertRaisesRegex(RuntimeError, "1 of 1 calls were refused: Refused: 400"):
            calls.again(self.target, [calls.Call("POST", "/", {}, b"Action=Refused", 0, 1)])


if __name__ == "__main__":
    unittest.main()
