"""Crash safety of the store: what a power cut at any moment may leave is rebuilt, recovered and checked."""
