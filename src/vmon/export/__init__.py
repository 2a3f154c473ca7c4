"""What vmon knows, as bytes that others read: files of other tools."""
