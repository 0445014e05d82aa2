"""The way of a message: trust, lanes, turns, delivery, and the surfaces that messages come and go by."""
