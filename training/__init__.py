"""Offline side of MAPDiff: simulate multi-dose PET, train, calibrate, evaluate and export a model bundle."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]  # training lies in one, and in no wheel
