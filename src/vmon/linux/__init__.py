"""What kernel memory means, spelled as Linux spells it: one file a kernel subsystem. Pure, memory is handed in."""
