"""Volume in, every dose out."""
