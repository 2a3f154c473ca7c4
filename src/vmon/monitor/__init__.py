"""The one place that joins transport, kernel and meaning: attach, read, notice a reboot and identify again."""
