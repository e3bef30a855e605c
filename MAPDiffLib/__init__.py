"""MAPDiffLib: restores low-dose PET volumes with multi-anchor guided diffusion. Research use only."""

__version__ = "0.1.0"
