"""Modelfiles: the recipe a model is made from, in Ollama's grammar. Text in, facts out, and back; no file is
opened here.
"""

from appliance.modelfile.facts import Message, Modelfile, Source, SourceForm
from appliance.modelfile.parameters import PARAMETERS, Parameter, Use, check_options, engine_settings
from appliance.modelfile.parser import parse
from appliance.modelfile.render import render

__all__ = [
    "PARAMETERS",
    "Message",
    "Modelfile",
    "Parameter",
    "Source",
    "SourceForm",
    "Use",
    "check_options",
    "engine_settings",
    "parse",
    "render",
]
