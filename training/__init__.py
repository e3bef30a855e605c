"""Offline side of MAPDiff: simulate multi-dose PET, train, calibrate, evaluate and export a model bundle."""
