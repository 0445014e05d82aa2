"""The disk: one SQLite file, one writer, the durable queues and histories on top of it."""
