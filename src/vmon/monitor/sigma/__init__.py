"""Sigma rules, read as they are by pySigma, judged on a guest's events."""
