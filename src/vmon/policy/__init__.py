"""Rules as people write them: read, checked, and turned into those that the probe judges. Pure; sees only core."""
