"""Engines: libraries that run an artifact, loaded only when one is asked for."""

from infaas.engines.engine import Engine, engine

__all__ = ["Engine", "engine"]
