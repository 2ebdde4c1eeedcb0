"""The right layout for this chip: which types of weights are worth a try, and whether one is kept. Pure.

Who makes and measures them is elsewhere: `store/optimize.py`, `supervisor/judge.py`, `engine/judging.py`.
"""
