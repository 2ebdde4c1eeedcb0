"""Outpost: an offline LLM appliance. The package map is `docs/structure.md`."""

__version__ = "0.1.0"
