"""Volumes and snapshots as AWS documents: gp3's throughput, pending snapshots, whose snapshots are asked for.

A gp3 volume has 125 MiB/s unless told otherwise, moto has none; DescribeSnapshots with OwnerIds gives that owner's
only, moto gives those of the source images as well.
"""

from moto.ec2.models.elastic_block_store import EBSBackend, Volume
from moto.ec2.responses.elastic_block_store import ElasticBlockStore

from ..patching import patch
from ..settle import later


@patch(Volume, "__init__")
def init(old, self, *args, **given):
    old(self, *args, **given)
    if self.volume_type == "gp3" and not self.throughput:
        self.throughput = 125


@patch(EBSBackend, "create_snapshot")
def create_snapshot(old, self, volume_id, description, owner_id=None, from_ami=None):
    """A snapshot is `pending` first; an image's own is done when the image is (images.py)."""
    snapshot = old(self, volume_id, description, owner_id, from_ami)
    if not from_ami:
        snapshot.status = "pending"
        later(snapshot, "status", "completed")
    return snapshot


@patch(ElasticBlockStore, "describe_snapshots")
def describe_snapshots(old, self):
    answer = old(self)
    owners = self._get_param("OwnerIds", [])
    if owners:
        wanted = {self.current_account if owner == "self" else owner for owner in owners}
        found = answer._result["Snapshots"]
        answer._result["Snapshots"] = [s for s in found if owner_of(s) in wanted]
    return answer


def owner_of(snapshot) -> str:
    return snapshot["OwnerId"] if isinstance(snapshot, dict) else snapshot.owner_id
