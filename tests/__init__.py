"""The tests: a package, so that the doubles of the outside world can be imported and run as programs."""
