"""The life of an owner: from a configuration to a running gateway and back."""
