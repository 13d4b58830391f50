"""The demo: model-less serving on a real Kafka with real models, from training to the bill."""
