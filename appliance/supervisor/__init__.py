"""Runners: who is loaded, who waits, who is restarted. The daemon's side of the wire."""
