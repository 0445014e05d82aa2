"""The log of the gateway and the redaction of secrets."""
