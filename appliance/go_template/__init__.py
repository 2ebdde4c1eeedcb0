"""Ollama's chat templates (Go text/template) → Jinja for our renderer. Text in, text out; nothing is run
here.
"""

from appliance.go_template.conversion import Capabilities, recognise, to_jinja

__all__ = ["Capabilities", "recognise", "to_jinja"]
