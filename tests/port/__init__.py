"""One suite for every transport, and real QEMUs to read."""
