"""Network load balancers: an ARN that says `net`, addresses of their own, `provisioning` before `active`.

AWS gives an NLB one address, and one requester-managed network interface, in each of its subnets; the interfaces go a
little after the load balancer. It has security groups only if it was created with some. The lab forwards TCP, so
listeners and target groups of other protocols are refused.
"""

from moto.elbv2 import models

from ..errors import elb_refused
from ..patching import patch
from ..settle import later
from .interfaces import requester_managed

KINDS = {"network": "net", "gateway": "gwy"}
making = "application"  # the type that CreateLoadBalancer is making; guarded by world.LOCK


@patch(models, "make_arn_for_load_balancer")
def arn(old, *args, **given):
    return old(*args, **given).replace("loadbalancer/app/", f"loadbalancer/{KINDS.get(making, 'app')}/")


@patch(models.ELBv2Backend, "create_load_balancer")
def create(old, self, name, *args, **given):
    global making
    kind = given.get("loadbalancer_type") or "application"
    if any(balancer.name == name for balancer in self.load_balancers.values()):
        raise elb_refused("DuplicateLoadBalancerName", f"A load balancer named '{name}' already exists")
    making = kind
    try:
        balancer = old(self, name, *args, **given)
    finally:
        making = "application"
    identity = balancer.arn.rsplit("/", 1)[1]
    balancer.lab_addresses = {}
    if kind == "network":
        balancer.dns_name = f"{name}-{identity}.elb.{self.region_name}.amazonaws.com"
        wanted = {m["SubnetId"]: m.get("PrivateIPv4Address") for m in given.get("subnet_mappings") or []}
        for subnet in balancer.subnets:
            add_address(self.ec2_backend, balancer, subnet, wanted.get(subnet.id))
    later(balancer, "state", "active")
    return balancer


def add_address(ec2, balancer, subnet, wanted: str | None) -> None:
    """One interface with one address in one of the balancer's subnets."""
    kind, name, identity = balancer.arn.rsplit("/", 3)[1:]
    eni = ec2.create_network_interface(
        subnet, wanted, group_ids=balancer.security_groups, description=f"ELB {kind}/{name}/{identity}"
    )
    if not balancer.security_groups:
        eni._group_set = []
    requester_managed(eni, "network_load_balancer")
    balancer.lab_addresses[subnet.id] = eni


@patch(models.FakeLoadBalancer, "activate")
def activate(old, self):
    """moto activates at the first look; here the settle time decides."""


@patch(models.ELBv2Backend, "delete_load_balancer")
def delete(old, self, arn):
    balancer = self.load_balancers.get(arn)
    if balancer and balancer.attrs.get("deletion_protection.enabled") == "true":
        raise elb_refused(
            "OperationNotPermitted", f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
        )
    old(self, arn)
    for eni in balancer.lab_addresses.values() if balancer else ():
        later(eni, "lab_gone", True)


@patch(models.ELBv2Backend, "set_security_groups")
def set_groups(old, self, arn, sec_groups):
    balancer = self.load_balancers.get(arn)
    if balancer and balancer.type == "network" and not balancer.security_groups:
        raise elb_refused(
            "InvalidConfigurationRequest",
            "You cannot set security groups on a network load balancer that was created without security groups",
        )
    answer = old(self, arn, sec_groups)
    for eni in balancer.lab_addresses.values():
        eni._group_set = [self.ec2_backend.get_security_group_from_id(group) for group in sec_groups]
    return answer


@patch(models.ELBv2Backend, "set_subnets")
def set_subnets(old, self, arn, *args, **given):
    answer = old(self, arn, *args, **given)
    balancer = self.load_balancers[arn]
    if balancer.type == "network":
        kept = {subnet.id for subnet in balancer.subnets}
        for subnet_id in set(balancer.lab_addresses) - kept:
            later(balancer.lab_addresses.pop(subnet_id), "lab_gone", True, 0)
        for subnet in balancer.subnets:
            if subnet.id not in balancer.lab_addresses:
                add_address(self.ec2_backend, balancer, subnet, None)
    return answer


@patch(models.ELBv2Backend, "create_listener")
def create_listener(old, self, load_balancer_arn, protocol, port, *args, **given):
    balancer = self.load_balancers.get(load_balancer_arn)
    if balancer and balancer.type == "network" and protocol != "TCP":
        raise elb_refused("ValidationError", f"the lab's load balancer forwards TCP only, not {protocol}")
    if balancer and any(str(known.port) == str(port) for known in balancer.listeners.values()):
        raise elb_refused("DuplicateListener", "A listener already exists on this port for this load balancer")
    return old(self, load_balancer_arn, protocol, port, *args, **given)
