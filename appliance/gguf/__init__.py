"""GGUF headers, read by our own bounded reader: no llama.cpp, no mmap, no trust in any length.

`header` reads; `shape` and `quantization` say what was read in a planner's and a person's words. Whether a
file may be served is judged by `store/admission.py`.
"""
