"""Methods that ours is set beside, trained on the same patches."""
