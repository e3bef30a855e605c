"""Multi-dose cases on disk, and training patches from them."""
