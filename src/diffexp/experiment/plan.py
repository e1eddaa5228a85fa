"""What a job will cost, before it is run."""

from diffexp.experiment.build import build
from diffexp.experiment.job import Job
from diffexp.experiment.restore import ready
from diffexp.experiment.sweep import Cell
from diffexp.samplers import nfe, with_calls


def network_calls(cell: Cell) -> int | None:
    """Evaluations of the network, counted by image; None where it is not known beforehand.

    An adaptive sampler's is that of a black image. Raises DiffexpError for a job that would be refused.
    """
    job = Job(cell.config, cell.folder, cell.typed, cell.choices)
    task = job.config["task"]
    kind = task["_target_"].rpartition(".")[2]
    if kind == "Train":
        trainer, loader = job.config["trainer"], job.config["loader"]
        return trainer["max_steps"] * trainer.get("accumulate_grad_batches", 1) * loader["batch_size"]
    if "ckpt" not in task:
        return None
    restored, nodes = ready(job, task["ckpt"], task.get("ema", True))
    sampler, guidance = (build(nodes[k], k, job.allowed) for k in ("sampler", "guidance"))
    if task.get("calls"):
        sampler = with_calls(sampler, task["calls"], restored.model.denoiser.schedule)
    restored.model.check(sampler, guidance)
    if kind == "Evaluate":
        n = max(nodes["metrics"]["n"], job.config["evaluator"]["pictures"])
    elif kind == "Sample":
        n = task["n"]
    else:
        return None
    return n * nfe(sampler, guidance, restored.model)
