"""Samplers: loops over pairs of times. Imports torch and the core only."""

from diffexp.samplers.adams import Adams
from diffexp.samplers.adaptive import Adaptive
from diffexp.samplers.calls import check, counted, nfe, with_calls
from diffexp.samplers.ddim import DDIM
from diffexp.samplers.ddpm import DDPM
from diffexp.samplers.dpm_solver import DPMSolver
from diffexp.samplers.dpm_solver_pp import DPMSolverPP
from diffexp.samplers.dpm_solver_sde import DPMSolverSDE
from diffexp.samplers.encode import encode, slerp
from diffexp.samplers.generate import generate, sample
from diffexp.samplers.grid import Spacing, time_grid
from diffexp.samplers.heun import Heun
from diffexp.samplers.midpoint import Midpoint
from diffexp.samplers.pndm import PNDM
from diffexp.samplers.restart import Restart
from diffexp.samplers.sampler import GridSampler, Sampler
from diffexp.samplers.unipc import UniPC

__all__ = [
    "DDIM", "DDPM", "PNDM", "Adams", "Adaptive", "DPMSolver", "DPMSolverPP", "DPMSolverSDE",
    "GridSampler", "Heun", "Midpoint", "Restart", "Sampler", "Spacing", "UniPC", "check", "counted", "encode",
    "generate", "nfe", "sample", "slerp", "time_grid", "with_calls",
]  # fmt: skip
