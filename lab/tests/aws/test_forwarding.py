"""The load balancer forwards for real: to healthy targets only, from the documented address, over reloads."""

import http.server
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path

from harness import Case, eventually


class Web(http.server.BaseHTTPRequestHandler):
    """Says who answers and who asked; /healthz gives `server.code`."""

    def do_GET(self):
        code = self.server.code if self.path == "/healthz" else 200
        text = f"{self.server.server_address[0]} {self.client_address[0]}".encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def fetch(address: str, port: int, source: str = "192.0.2.10", scheme: str = "http") -> str:
    command = ["curl", "-sk", "--max-time", "10", "--interface", source, f"{scheme}://{address}:{port}/"]
    return subprocess.run(command, capture_output=True, text=True).stdout


class Forwarding(Case):
    def world(self, *, count=1, zones="a", port=6443, **given):
        """A VPC, `count` instances, a target group and a listener; gives ids, addresses, balancer address, group."""
        vpc = self.vpc()
        subnets = [self.subnet(vpc, f"10.20.{n}.0/24", zone) for n, zone in enumerate(zones, 1)]
        made = [self.instance(subnets[n % len(subnets)]) for n in range(count)]
        balancer, group = self.balancer(subnets), self.targets(vpc, port, **given)
        self.listen(balancer, group, port)
        self.addCleanup(self.elb.delete_load_balancer, LoadBalancerArn=balancer["LoadBalancerArn"])
        told = next(n for n in self.lab.network()["nlbs"] if n["name"] == self.name)
        return [m["InstanceId"] for m in made], [m["PrivateIpAddress"] for m in made], told["addresses"], group

    def web(self, address: str, certificate: Path | None = None):
        server = http.server.ThreadingHTTPServer((address, 6443), Web)
        server.code = 200
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def register(self, group: str, *ids: str) -> None:
        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": i} for i in ids])

    def attribute(self, group: str, key: str, value: str) -> None:
        self.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[{"Key": key, "Value": value}])

    def test_a_connection_reaches_a_healthy_target_and_an_unhealthy_one_gets_none(self):
        ids, ips, (front, *_), group = self.world(count=2, UnhealthyThresholdCount=2)
        self.web(ips[0])

        self.register(group, *ids)
        eventually(lambda: self.health(group) == {ids[0]: "healthy", ids[1]: "unhealthy"})

        answers = {fetch(front, 6443).split()[0] for _ in range(4)}
        self.assertEqual({ips[0]}, answers)

    def test_with_client_addresses_preserved_the_target_sees_the_client(self):
        ids, ips, (front, *_), group = self.world()
        self.web(ips[0])
        self.register(group, *ids)
        eventually(lambda: self.health(group) == {ids[0]: "healthy"})

        self.assertEqual(f"{ips[0]} 192.0.2.10", fetch(front, 6443))

    def test_without_preservation_the_target_sees_the_load_balancer(self):
        ids, ips, (front, *_), group = self.world()
        self.web(ips[0])
        self.attribute(group, "preserve_client_ip.enabled", "false")
        self.register(group, *ids)
        eventually(lambda: self.health(group) == {ids[0]: "healthy"})

        self.assertEqual(f"{ips[0]} {front}", fetch(front, 6443))

    def test_an_https_health_check_asks_for_its_path_and_wants_its_codes(self):
        ids, ips, (front, *_), group = self.world(
            HealthCheckProtocol="HTTPS",
            HealthCheckPath="/healthz",
            Matcher={"HttpCode": "200"},
            HealthyThresholdCount=2,
            UnhealthyThresholdCount=2,
        )
        server = self.web(ips[0], self.certificate())

        self.register(group, *ids)
        eventually(lambda: self.health(group) == {ids[0]: "healthy"})
        server.code = 500

        eventually(lambda: self.health(group) == {ids[0]: "unhealthy"})
        self.assertEqual("", fetch(front, 6443, scheme="https"))

    def test_without_cross_zone_balancing_an_address_prefers_the_targets_of_its_zone(self):
        ids, ips, fronts, group = self.world(count=2, zones="ab")
        for ip in ips:
            self.web(ip)
        self.register(group, *ids)
        eventually(lambda: set(self.health(group).values()) == {"healthy"})

        for front in fronts:
            self.assertEqual(
                {front.rsplit(".", 1)[0]}, {fetch(front, 6443).split()[0].rsplit(".", 1)[0] for _ in range(3)}
            )

    def test_an_open_connection_survives_the_registration_of_another_target(self):
        ids, ips, (front, *_), group = self.world(count=2)
        for ip in ips:
            self.web(ip)
        self.register(group, ids[0])
        eventually(lambda: self.health(group) == {ids[0]: "healthy"})
        with socket.create_connection((front, 6443), 3) as held:
            self.register(group, ids[1])
            eventually(lambda: len([s for s in self.health(group).values() if s == "healthy"]) == 2)

            held.sendall(b"GET / HTTP/1.0\r\n\r\n")
            self.assertIn(ips[0].encode(), held.recv(4096) + held.recv(4096))

    def test_changes_in_quick_succession_leave_a_healthy_target_healthy(self):
        ids, ips, (front, *_), group = self.world()
        self.web(ips[0])
        self.register(group, *ids)
        eventually(lambda: self.health(group) == {ids[0]: "healthy"})

        for preserved in ("false", "true", "false"):
            self.attribute(group, "preserve_client_ip.enabled", preserved)
            self.assertEqual({ids[0]: "healthy"}, self.health(group))
            self.assertIn(ips[0], fetch(front, 6443))

    def test_a_deregistered_target_gets_no_new_connections(self):
        ids, ips, (front, *_), group = self.world()
        self.web(ips[0])
        self.register(group, *ids)
        eventually(lambda: self.health(group) == {ids[0]: "healthy"})

        self.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": ids[0]}])

        eventually(lambda: fetch(front, 6443) == "")

    def test_forwarding_goes_on_over_the_death_of_the_emulator(self):
        ids, ips, (front, *_), group = self.world()
        self.web(ips[0])
        self.register(group, *ids)
        eventually(lambda: self.health(group) == {ids[0]: "healthy"})
        self.wait_for_the_state()

        self.lab.stop(signal.SIGKILL)
        between = fetch(front, 6443)
        self.lab.start()

        self.assertIn(ips[0], between)
        self.assertEqual({ids[0]: "healthy"}, self.health(group))
        self.assertIn(ips[0], fetch(front, 6443))

    def wait_for_the_state(self):
        """The state is written a moment after a change."""
        state, now = self.lab.dir / "aws" / "state", self.lab.dir / "now"

        def written() -> bool:
            self.lab.ask("save", now)
            return state.exists() and state.read_bytes() == now.read_bytes()

        eventually(written)

    def certificate(self) -> Path:
        path = Path(tempfile.mkdtemp()) / "pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            + ["-keyout", f"{path}.key", "-out", f"{path}.crt", "-subj", "/CN=t", "-days", "2"],
            check=True,
            capture_output=True,
        )
        path.write_text(Path(f"{path}.key").read_text() + Path(f"{path}.crt").read_text())
        return path
