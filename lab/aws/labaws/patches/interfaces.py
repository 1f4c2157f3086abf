"""Network interfaces take their address out of their subnet, and say whose they are.

AWS documents the first four addresses and the last one of a subnet as reserved, an address in use as
InvalidIPAddress.InUse, and interfaces of NLBs and NAT gateways as requester-managed.
"""

import ipaddress

from moto.ec2.models.elastic_network_interfaces import NetworkInterface, NetworkInterfaceBackend
from moto.ec2.models.instances import Instance
from moto.ec2.models.subnets import Subnet

from ..errors import Refused
from ..patching import patch

NetworkInterface.lab_gone = False


@patch(Subnet, "request_ip")
def request_ip(old, self, ip, instance):
    if ipaddress.ip_address(ip) not in self.cidr:
        raise Refused("InvalidParameterValue", f"Address {ip} does not fall within the subnet's address range")
    if ip in self._subnet_ips:
        raise Refused("InvalidIPAddress.InUse", f"Address {ip} is in use.")
    return old(self, ip, instance)


@patch(NetworkInterfaceBackend, "create_network_interface")
def create(old, self, subnet, private_ip_address, *args, **given):
    """Interfaces of instances come with an address that is requested already; all others request theirs here."""
    if isinstance(subnet, str):
        subnet = self.get_subnet(subnet)
    if isinstance(private_ip_address, list):
        private_ip_address = private_ip_address[0] if private_ip_address else None
    owner = subnet._subnet_ips.get(private_ip_address) if private_ip_address else None
    requested = owner is not None and isinstance(owner, Instance) and private_ip_address in owner._private_ips
    requested = requested and getattr(owner, "nics", None) == {}
    if private_ip_address and not requested:
        subnet.request_ip(private_ip_address, self)
    if not private_ip_address:
        private_ip_address = subnet.get_available_subnet_ip(self)
    eni = old(self, subnet, private_ip_address, *args, **given)
    eni.mac_address = mac_of(private_ip_address)
    return eni


def mac_of(ip: str) -> str:
    """The machine command derives a machine's MAC address from its IP address in the same way."""
    return "52:54:" + ":".join(f"{int(part):02x}" for part in ip.split("."))


def requester_managed(eni: NetworkInterface, kind: str) -> None:
    """Marks an interface as made by AWS on behalf of an NLB or a NAT gateway."""
    eni.requester_managed = True
    eni.interface_type = kind
    eni.status = "in-use"


@patch(NetworkInterfaceBackend, "delete_network_interface")
def delete(old, self, eni_id):
    eni = self.enis.get(eni_id)
    attached = eni and eni.instance and eni.instance._state.name not in ("shutting-down", "terminated")
    if attached or (eni and eni.requester_managed and not eni.lab_gone and eni.status == "in-use"):
        raise Refused("InvalidParameterValue", f"Network interface '{eni_id}' is currently in use.")
    if eni:
        for address in eni.private_ip_addresses:
            eni.subnet.del_subnet_ip(address["PrivateIpAddress"])
    return old(self, eni_id)
