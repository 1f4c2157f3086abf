"""What moto does otherwise than AWS documents, set right: one module per family of resources, applied at import."""

from . import (  # noqa: F401
    addresses,
    console,
    groups,
    images,
    instances,
    interfaces,
    loadbalancers,
    tags,
    targets,
    volumes,
    vpcs,
)
