"""The audit journal: what was done and refused, as a chain of hashes in a file."""
