"""The daemon: all parts built from the configuration, started in order and stopped in reverse.

`composition` builds, starts and stops; `policies` and `placements` turn the configuration into the parts' own
policies; `directory` is what it keeps on disk for itself; `model_store` opens the store with its probe and
quantiser; `stored_models` gives its models to the supervisor; `upkeep` is the thread that looks after it.

Nothing is imported here: the command line takes single parts where no daemon runs.
"""
