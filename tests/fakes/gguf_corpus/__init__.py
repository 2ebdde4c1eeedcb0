"""Hostile GGUF files, made at test time: every length, count, type and offset can be forged.

raw         a GGUF as its fields, and the bytes they make
seeds       tiny well-formed models to start from
kinds       hand-made files, by name and family
mutations   random files, each a function of its number
fork_server loads files with llama.cpp, each in a process of its own
"""
