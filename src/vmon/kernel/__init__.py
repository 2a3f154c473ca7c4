"""Which kernel is this: from bytes in RAM to a KernelProfile with evidence. Pure, memory is handed in."""
