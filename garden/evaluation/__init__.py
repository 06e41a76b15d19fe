"""How good a network is: the figures of a classifier, and scores that mean what they say."""
