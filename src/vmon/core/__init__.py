"""The vocabulary that every layer shares: addresses, ports, records, errors.

Reads nothing, touches no guest. Everything above may import it; it imports nothing of vmon.
"""
