"""What this device does with the 35.7 M UNet of DDPM at 3x32x32 in bfloat16, in so many minutes.

    python benchmarks/device.py --data cifar10.npz --weights inception.pth [--minutes 8] [--out build/device]
    python benchmarks/device.py --short                     all of it on any CPU, with next to nothing

1. training: images per second, the share of the peak, memory; eager and compiled, beside diffusers;
2. sampling: DDIM of 50 steps, eager, compiled, as CUDA graphs, beside diffusers, and what a step costs beside
   its network;
3. in the minutes that are left: a network trained on --data, and the FID of its samples (feature 768).

Parts 1 and 2 need torch and the package's core, diffusers to be compared with it; part 3 lightning and
torch-fidelity. --out gets results.json and results.md after each part, so that what is killed loses nothing.
"""

import argparse
import json
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from on_device.budget import Budget
from on_device.card import card, flops_of
from on_device.form import FULL, SHORT, Form
from on_device.recipe import Recipe, lacking
from on_device.sampling import overhead, sampling
from on_device.table import markdown
from on_device.training import training

from diffexp.files import write

TRAINING, SAMPLING = 0.4, 0.55  # shares of the minutes, after which the part begins nothing new


class Results:
    """What is known so far, kept in a folder."""

    def __init__(self, folder: Path, budget: Budget) -> None:
        self.folder, self.budget, self.all = folder, budget, dict[str, Any]()
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, key: str, value: Any) -> None:
        """Put a part into the files."""
        self.all |= {key: value, "notes": self.budget.notes, "failed": self.budget.failed}
        self.all["minutes"] = round((self.budget.seconds - self.budget.left()) / 60, 2)
        write(self.folder / "results.json", json.dumps(self.all, indent=1, ensure_ascii=False) + "\n")
        write(self.folder / "results.md", markdown(self.all))


def measure(form: Form, args: argparse.Namespace, budget: Budget, results: Results) -> None:
    """Measure the parts that are wanted, in turn."""
    case, device = form.case, args.device
    network = case.ours()
    counted = flops_of(network, (case.colours, case.size, case.size))
    weights = sum(p.numel() for p in network.parameters())
    machine = card(device, form.matmul, args.commit)
    facts = {
        "parameters": weights,
        "flops_forward": counted["forward"],
        "flops_training": counted["training"],
    }
    results.keep("card", machine | facts)
    print(f"{machine['device']}, {machine['matmul_tflops']:.3g} TFLOP/s", flush=True)
    if 1 in args.parts:
        for rows in training(form, device, budget, TRAINING, counted["training"], machine["peak_tflops"]):
            results.keep("training", rows)
    if 2 in args.parts:
        results.keep("overhead", budget.attempt("overhead", partial(overhead, form, device, budget)))
        results.keep("sampling", sampling(form, device, budget, SAMPLING))
    if 3 in args.parts:
        results.keep("quality", budget.attempt("part 3", partial(third, form, args, budget)))


def third(form: Form, args: argparse.Namespace, budget: Budget) -> dict[str, Any] | None:
    """Train and measure; None, with a note, where something is not there."""
    short = form is SHORT
    missing = lacking(random_features=short)
    missing += [] if short else [key for key in ("--data", "--weights") if getattr(args, key[2:]) is None]
    if missing:
        budget.note(f"part 3 was left out, for it lacks {', '.join(missing)}")
        return None
    from on_device.images import made_up, read
    from on_device.quality import quality

    data = made_up(200, form.case.size) if args.data is None else read(args.data)
    recipe = Recipe(**{f.name: getattr(args, f.name) for f in fields(Recipe)})
    return quality(form, recipe, data, None if short else args.weights, args.device, budget, args.out)


def arguments() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything")
    parser.add_argument("--parts", type=int, nargs="+", choices=(1, 2, 3), default=(1, 2, 3))
    parser.add_argument("--out", type=Path, default=Path("build/device"))
    parser.add_argument("--data", type=Path, help="a .npz, or a folder (on_device/images.py)")
    parser.add_argument("--weights", type=Path, help="of the FID Inception")
    parser.add_argument("--short", action="store_true")
    there = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=there)
    parser.add_argument("--commit", help="of the code, where there is no git")
    recipe = parser.add_argument_group("the recipe of part 3")
    recipe.add_argument("--prediction", choices=("edm", "v"), default=Recipe.prediction)
    recipe.add_argument("--batch", type=int)
    recipe.add_argument("--lr", type=float, default=Recipe.lr)
    recipe.add_argument("--warmup", type=int, default=Recipe.warmup)
    recipe.add_argument("--ema", type=float, default=Recipe.ema)
    recipe.add_argument("--conditional", action=argparse.BooleanOptionalAction, default=Recipe.conditional)
    recipe.add_argument("--steps", type=int, default=Recipe.steps, help="of the sampler")
    return parser.parse_args()


def main() -> None:
    """Print the page of results; exit 1 where a part of it failed."""
    args = arguments()
    form = SHORT if args.short else FULL
    args.batch = args.batch or form.train_batch
    if args.short:
        torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True  # for all alike: every size comes again and again
    budget = Budget(args.minutes)
    results = Results(args.out, budget)
    measure(form, args, budget, results)
    print("\n" + markdown(results.all))
    raise SystemExit(1 if budget.failed else 0)


if __name__ == "__main__":
    main()
