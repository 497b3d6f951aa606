"""The best schedule: families of schedules with free numbers, and which of them ends best within a budget.

Lives here: families, what a schedule ends with, the search, its judgement by networks, the figure. Lives elsewhere:
schedules as such (schedule), the infinite-width limit that is searched (theory.engines.infinite).
"""
