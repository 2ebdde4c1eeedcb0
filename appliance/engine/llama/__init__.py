"""The llama_cpp door: the only package that imports llama_cpp. Low-level API only, no `Llama` class.

    library     the shared library once per process, its log, ggml type names
    model       a loaded GGUF: facts, vocabulary, adapters
    context     a context over a model: decode, logits, slots of the KV cache, pooled embeddings
    sampler     a llama.cpp sampler chain and grammar of one sequence
    threadpool  llama.cpp's own thread pool, attached to a context

ctypes releases the GIL in every call. Nothing here is thread-safe but `LlamaModel`'s vocabulary calls, which
only read.
"""
