"""diffexp: experiments on denoising diffusion models."""
