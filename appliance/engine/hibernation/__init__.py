"""KV state on disk: what leaves the cache, or the memory, comes back on the next matching prefix.

    snapshot     the format of a file, and its seals (pure)
    shelf        the files of one directory: the only module here that touches the disk
    index        which of them continues a prompt (pure)
    worth        what is worth writing, and reading back (pure)
    streams      the state of a slot, apart from how many slots its context has (pure)
    hibernator   decides, on the engine's thread
    porter       does the slow part, on a thread that writes and one that reads (`worker`)
    opening      makes all of these for a model
    waking       the part of admission: a sequence waits for its snapshot, and starts from it

docs/engine.md "Hibernation" has the whole; ADR 0015 says why.
"""
