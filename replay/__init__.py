"""Replay: the query log read again, and the policies run over it in virtual time."""
