"""Many configurations: axes, how they are cut, computed, kept and shown.

Lives here: grid, plan, store, the course of a sweep, its tables and figures. Lives elsewhere: one configuration (theory).
"""
