"""What everything else stands on: errors, clock, names, threads, small files. Plain where the status path needs it."""
