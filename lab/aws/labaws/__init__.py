"""The lab's AWS API: moto with real machines, a real load balancer and honest states behind it.

front.py      every request: faults, log, one lock, unimplemented actions; the lab's own doors under /lab/
patches/      what moto does otherwise than AWS documents, one file per family of resources
machines.py   RunInstances and its like call the lab's machine command; its return moves the state on
network.py    security groups, addresses and names, told to the machine command whenever they change
balancer.py   listeners and target groups as one haproxy configuration; health.py reads haproxy's view
metadata.py   instance metadata, version 2, told apart by source address
state.py      everything above, kept over a restart, saved and restored under a name
inventory.py  the ids of all live things; policy.py compares a run's calls with an IAM policy

A request holds world.LOCK from its effect to its answer's being ready, and the network, the load balancer and the
queue of machine calls are brought up to date before the lock is given back: what an answer promises is so.
"""
