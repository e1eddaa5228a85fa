"""What each weighting weighs: its weight of the network's own error, over log SNR, for each prediction.

    python benchmarks/weightings.py [--out FOLDER]

A weighting is a function of the noise level on |x̂0 − x0|²; the network is trained on F, whose error is
1/c_out times that of x̂0, so with w it sees w c_out². Curves are scaled to 1 at their largest.
"""

import argparse
from pathlib import Path

import torch
import yaml

import diffexp.diffusion as d
from diffexp.report.curves import Line, curves
from diffexp.report.page import document

SCHEDULE = d.cosine()
CONF = Path(__file__).parents[1] / "conf"
PREDICTIONS = {"eps": d.Eps(), "x0": d.X0(), "v": d.V(), "edm": d.EDM()}


def weightings() -> dict[str, d.weighting.Weighting]:
    """Those of conf/weighting, with their defaults; edm2 begins as edm."""
    found = {}
    for file in sorted((CONF / "weighting").glob("*.yaml")):
        node = yaml.safe_load(file.read_text())
        made = getattr(d, node.pop("_target_").removeprefix("diffexp.diffusion."))
        if "base" not in node:
            found[file.stem] = made(**{k: SCHEDULE if v == "${snr}" else v for k, v in node.items()})
    return found


def main() -> None:
    """Prints the weights at five levels, and writes the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/weightings"))
    out = parser.parse_args().out
    t = torch.linspace(0.004, 0.996, 300, dtype=torch.float64)
    level = SCHEDULE(t)
    log_snr = 2 * level.lam
    marks = [int((log_snr - at).abs().argmin()) for at in (6.0, 3.0, 0.0, -3.0, -6.0)]
    figures = []
    for name, prediction in PREDICTIONS.items():
        c_out = torch.as_tensor(prediction(level).c_out, dtype=torch.float64).expand_as(t)
        lines = []
        print(f"\n{name}\n\n| weighting | 6 | 3 | 0 | −3 | −6 |\n|---|---|---|---|---|---|")
        for kind, weighting in weightings().items():
            weight = weighting(level, c_out) * c_out**2
            weight = weight / weight.max()
            print(f"| {kind} | " + " | ".join(f"{float(weight[i]):.2g}" for i in marks) + " |")
            kept = [(s, [w]) for s, w in zip(log_snr.tolist(), weight.tolist(), strict=True) if w > 1e-4]
            lines.append(Line(kind, kept))
        figures.append(curves(f"weight of the error of {name}", lines, "log SNR", marks=False))
    out.mkdir(parents=True, exist_ok=True)
    (out / "weightings.html").write_text(document("weightings", {}, figures))


if __name__ == "__main__":
    main()
