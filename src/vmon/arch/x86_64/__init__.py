"""x86-64: four- and five-level paging."""
