"""The network, the diffusion and the bundle that holds them."""
