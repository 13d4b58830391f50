"""Faults on purpose, under a load whose answers are known, and the history checker afterwards."""
