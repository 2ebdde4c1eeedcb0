"""What crosses between the daemon and a runner: the messages and the channel that carries them. Nothing else
is shared.
"""
