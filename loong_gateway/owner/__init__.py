"""One owner per home: the lock, what the owner says about itself, and how others read it and ask it to stop."""
