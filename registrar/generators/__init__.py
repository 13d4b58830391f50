"""Generators: from a source model to a variant's artifact, each in a file, loaded only in the process that generates."""
