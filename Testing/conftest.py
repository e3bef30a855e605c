"""For every test: what is drawn at random is drawn alike on every machine, and takes as long as it takes."""

from hypothesis import settings

settings.register_profile("any machine", deadline=None, derandomize=True, database=None)
settings.load_profile("any machine")
