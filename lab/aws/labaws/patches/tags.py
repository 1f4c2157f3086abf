"""Tags of deleted things are gone, and the tagging API finds what the lab's users make.

moto keeps the tags of a deleted resource for ever, and its tagging API lacks a few EC2 kinds, elastic addresses, key
pairs, endpoints and security group rules among them.
"""

from moto.core.resource_tagging import TaggedResource
from moto.ec2.models import EC2Backend
from moto.ec2.models.tags import TagBackend

from ..patching import patch

MORE_KINDS = {
    "elastic-ip": lambda b: [a.allocation_id for a in b.addresses],
    "key-pair": lambda b: [k.id for k in b.key_pairs.values()],
    "vpc-endpoint": lambda b: [e.id for e in b.vpc_end_points.values()],
    "security-group-rule": lambda b: [
        rule.id for group in all_groups(b) for rule in [*group.ingress_rules, *group.egress_rules]
    ],
    "vpc-flow-log": lambda b: list(b.flow_logs),
}
RENAMED = {"flow-logs": "vpc-flow-log"}


def all_groups(backend):
    return [group for groups in backend.groups.values() for group in groups.values()]


def gone(backend) -> set[str]:
    """Ids that stay listed for a while after their end and whose tags no longer count."""
    dead = {g.id for g in backend.nat_gateways.values() if g.state == "deleted"}
    for reservation in backend.reservations.values():
        dead |= {i.id for i in reservation.instances if i._state.name == "terminated"}
    return dead


@patch(EC2Backend, "iter_tagged_resources")
def iter_tagged(old, self):
    dead = gone(self)
    for resource in old(self):
        kind = resource.resource_type.split(":", 1)[1]
        if kind not in RENAMED and resource.arn.rsplit("/", 1)[1] not in dead:
            yield resource
    for kind, ids in MORE_KINDS.items():
        for resource_id in ids(self):
            yield TaggedResource(
                arn=f"arn:{self.partition}:ec2:{self.region_name}:{self.account_id}:{kind}/{resource_id}",
                tags=dict(self.tags.get(resource_id, {})),
                resource_type=f"ec2:{kind}",
            )


@patch(TagBackend, "describe_tags")
def describe_tags(old, self, filters=None):
    """A terminated instance keeps its tags for as long as it is listed, but they are not found here."""
    prune(self)
    dead = gone(self)
    return [tag for tag in old(self, filters) if tag["resource_id"] not in dead]


def prune(backend) -> None:
    """Forgets the tags of everything that is not even listed any more."""
    existing = {resource.arn.rsplit("/", 1)[1] for resource in backend.iter_tagged_resources()} | gone(backend)
    existing |= set(backend.network_acls) | set(backend.dhcp_options_sets) | set(backend.launch_templates)
    for resource_id in list(backend.tags):
        if resource_id not in existing:
            del backend.tags[resource_id]
