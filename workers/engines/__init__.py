"""Engines: libraries that run an artifact, loaded only when one is asked for."""
