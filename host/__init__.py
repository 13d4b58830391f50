"""Processes of one machine: services, their children, and the channel between the two."""
