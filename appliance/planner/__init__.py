"""What a model takes in memory, and with what placement it is loaded: pure, from sizes and readings."""
