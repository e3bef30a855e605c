"""Simulated multi-dose PET cases: phantom -> scanner -> nested doses -> reconstructions."""
