"""Generators: each makes one kind of artifact from a registered model."""
