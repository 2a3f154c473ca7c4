"""Transports without a QEMU: parsers, tables, files."""
