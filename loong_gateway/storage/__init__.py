"""The disk: one SQLite file, one writer, the durable queues, histories and work units on top of it."""
