"""gp3 volumes have the throughput that AWS documents: 125 MiB/s unless told otherwise; moto has none."""

from moto.ec2.models.elastic_block_store import Volume

from ..patching import patch


@patch(Volume, "__init__")
def init(old, self, *args, **given):
    old(self, *args, **given)
    if self.volume_type == "gp3" and not self.throughput:
        self.throughput = 125
