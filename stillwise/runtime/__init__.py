"""Where work happens and what survives it: executors, the store of step outputs, the journal of model calls."""
