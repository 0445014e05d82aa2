"""Random and mutated input for everything that reads what comes from outside; run as a program, see __main__."""
