"""A security group that an interface, or a rule of another group, refers to is not deleted (DependencyViolation)."""

from moto.ec2.models.security_groups import SecurityGroupBackend

from .. import world
from ..errors import Refused
from ..patching import patch


def referring(backend, group_id: str) -> bool:
    for groups in backend.groups.values():
        for group in groups.values():
            rules = [*group.ingress_rules, *group.egress_rules]
            if group.id != group_id and any(r.source_group.get("GroupId") == group_id for r in rules):
                return True
    return False


@patch(SecurityGroupBackend, "delete_security_group")
def delete_group(old, self, name=None, group_id=None):
    if group_id:
        guarded = any(g.id == group_id for eni in self.enis.values() for g in world.groups_of(eni))
        if guarded or referring(self, group_id):
            raise Refused("DependencyViolation", f"resource {group_id} has a dependent object")
    return old(self, name, group_id)
