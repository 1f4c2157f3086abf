"""Elastic addresses come from one documentation range, and one that is in use is not released.

AWS: ReleaseAddress of an associated address fails with InvalidIPAddress.InUse; an address that an instance is given at
launch goes back when it stops. RFC 5737's 203.0.113.0/24 stands for the internet.
"""

import ipaddress

from moto.ec2.models import elastic_ip_addresses as models
from moto.ec2.models import elastic_network_interfaces as interfaces

from .. import settings, world
from ..errors import Refused
from ..patching import patch


def free_address() -> str:
    """The lowest public address that nothing has."""
    used = {address.public_ip for backend in world.ec2() for address in backend.addresses}
    used |= {eni.public_ip for backend in world.ec2() for eni in backend.enis.values()}
    for address in ipaddress.ip_network(settings.PUBLIC_RANGE).hosts():
        if str(address) not in used and int(address) & 0xFF >= 10:
            return str(address)
    raise Refused("AddressLimitExceeded", f"all addresses of {settings.PUBLIC_RANGE} are in use")


models.random_ip = free_address
interfaces.random_public_ip = free_address


@patch(models.ElasticAddressBackend, "release_address")
def release(old, self, address=None, allocation_id=None):
    found = self.address_by_allocation([allocation_id]) if allocation_id else self.address_by_ip([address])
    if found[0].eni:
        raise Refused(
            "InvalidIPAddress.InUse",
            f"The address with allocation id '{found[0].allocation_id}' cannot be released because it is in use.",
        )
    return old(self, address, allocation_id)


@patch(models.ElasticAddressBackend, "associate_address")
def associate(old, self, instance=None, eni=None, address=None, allocation_id=None, reassociate=False):
    """The VPC of the interface must have an internet gateway: Gateway.NotAttached otherwise."""
    interface = eni or (instance.nics[0] if instance else None)
    gateways = [g for g in self.internet_gateways.values() if g.vpc]
    if interface and not any(g.vpc.id == interface.vpc_id for g in gateways):
        raise Refused("Gateway.NotAttached", f"Network {interface.vpc_id} is not attached to any internet gateway")
    return old(self, instance, eni, address, allocation_id, reassociate)
