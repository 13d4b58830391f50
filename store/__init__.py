"""The metadata store: a compacted topic that each key's one writer writes and everybody else has a view of."""
