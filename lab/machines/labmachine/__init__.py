"""Machines of the lab: guests that boot, stop, are cut off, captured, and the network between them.

place.py knows where everything lies, guest.py runs a machine, disk.py its disk and the images, faults.py breaks it,
rules.py turns security groups into a ruleset, network.py puts it into the kernel, cli.py is the door.
"""
