"""Tools: what the model and the port may have done, behind one place that decides."""
