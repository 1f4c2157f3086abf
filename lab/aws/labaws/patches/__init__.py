"""What moto does otherwise than AWS documents, set right: one module per family of resources, applied at import."""

from . import (  # noqa: F401
    addresses,
    attributes,
    console,
    groups,
    images,
    instances,
    interfaces,
    loadbalancers,
    profiles,
    tags,
    targets,
    volumes,
    vpcs,
)
