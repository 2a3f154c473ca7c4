"""The injected probe, host side: where it lives, how it is installed and removed, what it tells and is told."""
