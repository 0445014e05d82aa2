"""Benchmarks: loong beside a polling loop that keeps nothing, against the same doubles, in the same run."""
