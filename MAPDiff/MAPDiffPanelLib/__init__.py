"""The parts of the MAPDiff panel: each file one idea, each usable without the panel's window."""
