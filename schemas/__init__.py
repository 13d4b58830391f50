"""The words all services share: wire models, topics, headers, errors. Knows nothing else of the system.

Whatever travels through Kafka is described here once, and nothing here does any I/O.
"""
