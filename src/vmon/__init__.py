"""vmon: see the processes of a virtual machine from outside it."""
