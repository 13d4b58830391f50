"""Provisioners: how machines are started and stopped."""
