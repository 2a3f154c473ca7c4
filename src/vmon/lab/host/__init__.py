"""A host with a stock KVM runs in the emulator, so that vmon's home is testable on any machine."""
