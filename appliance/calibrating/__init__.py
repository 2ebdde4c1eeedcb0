"""How a model is best served on this board: what is measured, and whether it changes anything. Pure.

Who measures is elsewhere: `daemon/calibration.py`, `supervisor/bench.py`, `engine/benching.py`.
"""
