"""Networks: what is still in use is not deleted, and NAT gateways need time both ways.

AWS documents DependencyViolation for DeleteVpc, DeleteSubnet, DetachInternetGateway and DeleteInternetGateway while
something depends on them. moto deletes most of it without a word.
"""

from moto.ec2.models import internet_gateways, nat_gateways
from moto.ec2.models.subnets import SubnetBackend
from moto.ec2.models.vpcs import VPCBackend
from moto.ec2.utils import tag_filter_matches

from ..errors import Refused, in_use
from ..patching import patch
from ..settle import later
from .interfaces import requester_managed

nat_gateways.random_private_ip = lambda: None  # the interface takes its address from the subnet instead


@patch(SubnetBackend, "delete_subnet")
def delete_subnet(old, self, subnet_id):
    if any(eni.subnet.id == subnet_id for eni in self.enis.values()):
        raise Refused("DependencyViolation", f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")
    return old(self, subnet_id)


@patch(VPCBackend, "delete_vpc")
def delete_vpc(old, self, vpc_id):
    attached = any(g.vpc and g.vpc.id == vpc_id for g in self.internet_gateways.values())
    groups = [g for g in self.groups.get(vpc_id, {}).values() if g.name != "default"]
    endpoints = [e for e in self.vpc_end_points.values() if e.vpc_id == vpc_id]
    interfaces = [e for e in self.enis.values() if e.vpc_id == vpc_id]
    if attached or groups or endpoints or interfaces:
        raise in_use(f"vpc '{vpc_id}'")
    answer = old(self, vpc_id)
    for acl in [acl for acl in self.network_acls.values() if acl.vpc_id == vpc_id]:
        del self.network_acls[acl.id]  # moto leaves the VPC's default network ACL behind
    return answer


@patch(internet_gateways.InternetGatewayBackend, "detach_internet_gateway")
def detach_gateway(old, self, internet_gateway_id, vpc_id):
    if any(eni.vpc_id == vpc_id and eni.public_ip for eni in self.enis.values()):
        raise Refused(
            "DependencyViolation",
            f"Network {vpc_id} has some mapped public address(es). Please unmap those public address(es) before "
            "detaching the gateway.",
        )
    return old(self, internet_gateway_id, vpc_id)


@patch(nat_gateways.NatGatewayBackend, "create_nat_gateway")
def create_nat(old, self, *args, **given):
    gateway = old(self, *args, **given)
    gateway.private_ip = gateway._eni.private_ip_address
    gateway._eni._group_set = []
    gateway._eni.description = f"Interface for NAT Gateway {gateway.id}"
    requester_managed(gateway._eni, "nat_gateway")
    gateway.state = "pending"
    later(gateway, "state", "available")
    return gateway


@patch(nat_gateways.NatGatewayBackend, "describe_nat_gateways")
def described_nats(old, self, filters, nat_gateway_ids):
    """Filters by tag hold; moto passes over them and answers with the gateways of everybody."""
    tags = {name: values for name, values in (filters or {}).items() if name.startswith("tag")}
    gateways = old(self, filters, nat_gateway_ids)
    return [g for g in gateways if all(tag_filter_matches(g, name, values) for name, values in tags.items())]


@patch(nat_gateways.NatGatewayBackend, "delete_nat_gateway")
def delete_nat(old, self, nat_gateway_id):
    gateway = self.nat_gateways.get(nat_gateway_id)
    if gateway is None:
        raise Refused("NatGatewayNotFound", f"The Nat Gateway {nat_gateway_id} was not found")
    if gateway.state in ("deleting", "deleted"):
        return gateway
    gateway.state, gateway.lab_due = "deleting", []
    later(gateway, "state", "deleted")
    return gateway


@patch(VPCBackend, "delete_vpc_endpoints")
def delete_endpoints(old, self, vpce_ids=None):
    """A deleted endpoint is no longer described; moto lists it for ever in state `deleted`."""
    old(self, vpce_ids)
    for endpoint_id in vpce_ids or []:
        self.vpc_end_points.pop(endpoint_id, None)


@patch(VPCBackend, "create_vpc_endpoint")
def create_endpoint(old, self, *args, **given):
    """Without VpcEndpointType it is a gateway endpoint, says AWS; moto leaves it without a type."""
    endpoint = old(self, *args, **given)
    endpoint.vpc_endpoint_type = endpoint.vpc_endpoint_type or "Gateway"
    return endpoint
