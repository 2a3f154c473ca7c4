"""Where bytes come from: QEMU's monitor, guest RAM windows, dump files, and a fake for tests."""
