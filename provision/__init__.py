"""Setting up: this clone (`bootstrap/`), later whole boards."""
