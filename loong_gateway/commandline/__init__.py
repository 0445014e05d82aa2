"""The frame of the command line: verbs, flags, errors, exit codes."""
