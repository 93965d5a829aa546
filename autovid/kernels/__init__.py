"""CPU kernels, and the choice of precision and device."""
