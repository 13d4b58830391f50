"""The caller's side: queries, replies and registrations over Kafka, with numpy arrays."""
