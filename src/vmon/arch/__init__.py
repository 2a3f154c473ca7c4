"""What a CPU says: how it maps memory. One folder an architecture; pure, memory is handed in."""
