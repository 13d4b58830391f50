"""Kafka: everything that talks to a broker, and nothing else does.

Above this package a record is a `Record`, a failure an `InfaasError`, and time the broker's clock.
"""
