"""How vmon acts on a guest: through the probe, by the kernel's own functions, on exactly the process that was meant."""
