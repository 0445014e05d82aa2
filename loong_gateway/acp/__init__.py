"""Outside agents that answer in place of the model, over the Agent Client Protocol."""
