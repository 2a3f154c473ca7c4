"""Measurements of vmon: `./dev bench`. Series with medians and spread, never assertions."""
