"""The networks of active learning. Importing this makes all names of networks, members, features and scores known."""

from fewslice.learner import kinds, members, networks, vaal  # noqa: F401
