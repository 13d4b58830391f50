"""The registrar: generates, measures and publishes model variants; all it does follows from the metadata store."""
