"""Provisioners: who starts and stops machines."""
