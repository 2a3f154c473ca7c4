"""Views of a guest that should agree, and what it means where they don't. Reads the guest, changes nothing."""
