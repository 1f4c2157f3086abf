# The commands. All need root (they say so), make what they need once and keep it in the user's cache directory.

.PHONY: demo test test-crash test-crash-disk test-crash-lab test-crash-vsphere clean-demo demo-airgap clean-demo-airgap demo-vsphere clean-demo-vsphere

# A whole cluster in the lab: images, network, load balancer, machines, joins; again at once when it is there.
demo:
	./lab/demo

# Lints, unit tests, the rooms against scripted and real tools, the binary against the lab.
test:
	./tests/run

# The program killed at every crash point, then killed again while it recovers; ends within half an hour.
test-crash:
	./tests/crash-matrix all

# The disk of the program and of its supervisors failing at each operation, one after the other.
test-crash-disk:
	./tests/crash-matrix disk 60

# The program killed in every stage and join with the real tools, from saved states; ends within four hours.
test-crash-lab:
	./tests/crash-lab

# The program killed in every stage that a vCenter knows of, with the real tools; ends within an hour.
test-crash-vsphere:
	./tests/crash-vsphere

# Takes the demo's cluster and lab away.
clean-demo:
	./lab/demo down

# A cluster on machines that already exist, in the lab, without a way out; again at once when it is there.
demo-airgap:
	./lab/demo-airgap

# Leaves the machines of the air-gap demo as they were and takes its lab away.
clean-demo-airgap:
	./lab/demo-airgap down

# A cluster on vSphere, in a lab with a vCenter: templates, machines, joins; again at once when it is there.
demo-vsphere:
	./lab/demo-vsphere

# Takes the vSphere demo's cluster away, shows that the vCenter holds what it held before, and takes its lab away.
clean-demo-vsphere:
	./lab/demo-vsphere down
