"""Guests to try vmon on: stock Debian kernels and a small root file system, booted in QEMU."""
