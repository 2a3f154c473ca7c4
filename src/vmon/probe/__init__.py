"""The injected probe, host side: what can be watched in a kernel, at which instructions, and where code may live."""
