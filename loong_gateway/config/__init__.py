"""Settings as data, the configuration file, secrets, and the accounts that a command means."""
