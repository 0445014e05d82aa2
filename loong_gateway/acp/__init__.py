"""Outside agents that answer in place of the model: processes that speak the Agent Client Protocol."""
