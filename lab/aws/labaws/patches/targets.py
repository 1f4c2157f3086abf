"""Targets are real: unknown ones are refused, new ones are `initial`, leaving ones `draining`, the rest haproxy says.

https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-health-checks.html lists the states and
their reason codes.
"""

import time

from moto.elbv2 import models
from moto.elbv2.responses import ELBV2Response

from .. import health
from ..errors import elb_refused
from ..patching import patch

Group = models.FakeTargetGroup
DEFAULTS = {
    "proxy_protocol_v2.enabled": "false",
    "deregistration_delay.connection_termination.enabled": "false",
}


@patch(Group, "__init__")
def init(old, self, *args, **given):
    """Per target: `lab_since` it came, `lab_passed` if it was ever healthy, `lab_draining` until when it drains."""
    old(self, *args, **given)
    if self.protocol == "TCP" and self.health_check_protocol in ("HTTP", "HTTPS") and not given.get("matcher"):
        self.matcher = {"HttpCode": "200-399"}
    self.lab_since, self.lab_passed, self.lab_draining = {}, set(), {}
    if self.protocol in ("TCP", "TLS", "UDP", "TCP_UDP"):
        self.attributes.update(DEFAULTS)
        preserved = self.target_type == "instance"
        self.attributes["preserve_client_ip.enabled"] = "true" if preserved else "false"


LIMITS = {
    "HealthCheckIntervalSeconds": (5, 300),
    "HealthCheckTimeoutSeconds": (2, 120),
    "HealthyThresholdCount": (2, 10),
    "UnhealthyThresholdCount": (2, 10),
}


@patch(ELBV2Response, "create_target_group")
@patch(ELBV2Response, "modify_target_group")
def within_limits(old, self):
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html"""
    for name, (low, high) in LIMITS.items():
        value = self._get_param(name)
        if value is not None and not low <= int(value) <= high:
            raise elb_refused("ValidationError", f"{name} must be between {low} and {high}, not {value}")
    return old(self)


@patch(models.ELBv2Backend, "modify_target_group_attributes")
def modify_attributes(old, self, target_group_arn, attributes):
    if attributes.get("deregistration_delay.connection_termination.enabled") == "true":
        raise elb_refused("ValidationError", "the lab does not terminate connections of deregistered targets")
    return old(self, target_group_arn, attributes)


@patch(Group, "register")
def register(old, self, targets):
    for target in targets:
        if self.target_type == "instance":
            refuse_unfit(self, target["Id"])
    old(self, targets)
    for target in targets:
        self.lab_since.setdefault(target["Id"], time.time())
        self.lab_draining.pop(target["Id"], None)


def refuse_unfit(group, instance_id: str) -> None:
    """An instance must exist, run, and be in the group's VPC."""
    instance = group.ec2_backend.get_instance_by_id(instance_id)
    if instance is None:
        raise elb_refused("InvalidTarget", f"The instance ID '{instance_id}' is not valid")
    if instance._state.name != "running":
        raise elb_refused(
            "InvalidTarget",
            f"The following targets are not in a running state and cannot be registered: '{instance_id}'",
        )
    if instance.vpc_id != group.vpc_id:
        raise elb_refused(
            "InvalidTarget", f"The following targets are not in the target group VPC '{group.vpc_id}': '{instance_id}'"
        )


@patch(Group, "deregister")
def deregister(old, self, targets):
    """A target that is not registered is no error, says AWS; one that was drains for as long as the group says."""
    known = [target for target in targets if target["Id"] in self.targets]
    old(self, known)
    until = time.time() + float(self.attributes["deregistration_delay.timeout_seconds"])
    for target in known:
        self.lab_since.pop(target["Id"], None)
        self.lab_passed.discard(target["Id"])
        self.lab_draining[target["Id"]] = until


@patch(Group, "deregister_terminated_instances")
def deregister_terminated(old, self, instance_ids):
    self.deregister([{"Id": instance_id} for instance_id in instance_ids if instance_id in self.targets])


@patch(models.ELBv2Backend, "describe_target_health")
def describe(old, self, target_group_arn, targets):
    group = self.target_groups.get(target_group_arn)
    if group and not targets:
        draining = [{"Id": target, "Port": group.port} for target in group.lab_draining]
        targets = [*group.targets.values(), *draining]
        if not targets:
            return []
    return old(self, target_group_arn, targets)


@patch(Group, "health_for")
def health_for(old, self, target, ec2_backend):
    state, reason, words = health.of(self, target["Id"])
    known = self.targets.get(target["Id"], {})
    port = target.get("Port") or known.get("Port") or self.port
    return models.FakeHealthStatus(target["Id"], port, str(known.get("Port", self.port)), state, reason, words)
