"""The port: strict HTTP in front of the gateway."""
