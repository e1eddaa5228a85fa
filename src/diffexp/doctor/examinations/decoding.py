"""A codec that cannot give images back: FID of reconstructions, which no sample can be better than."""

import torch

from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.levels import BATCH
from diffexp.doctor.patient import Patient
from diffexp.doctor.samples import shown_as
from diffexp.metrics.reconstruction import psnr


@torch.no_grad()
def examine(patient: Patient) -> list[Finding]:
    """Compare FID of real images with that of the same, encoded and decoded."""
    codec = patient.model.codec
    if codec.pixels:
        return []
    images = patient.data.split("test")
    index = torch.arange(min(len(images), patient.n))
    real, back = list[torch.Tensor](), list[torch.Tensor]()
    for part in index.split(BATCH):
        real.append(images.batch(part).image)
        back.append(codec.decode(codec.encode(real[-1].to(patient.device))).cpu())
    before, after = torch.cat(real), torch.cat(back)
    key = patient.fid_key
    fids = [patient.measure(x)[key] for x in (before, after)]
    lost = fids[1] - fids[0]
    dB = float(psnr(before, after).mean())
    saw = f"FID of {len(index)} real images is {fids[0]:.3g}, of their reconstructions {fids[1]:.3g}, "
    saw += f"of samples {patient.fid():.3g}; reconstructions are at {dB:.1f} dB"
    scale = max(0.2 * patient.fid(), patient.floor / 2)
    do = [["task=autoencoder", *_data(patient), "name=wider", "autoencoder.network.latent_channels=4"]]
    drawn = [shown_as(images) for images in (before, after)]
    pictures = patient.pictures(dict(zip(("real", "reconstructed"), drawn, strict=True)))
    return [Finding("a codec that loses too much", "blur", strength(lost, scale), saw, do, None, pictures)]


def _data(patient: Patient) -> list[str]:
    return [text for text in patient.trained or () if text.lstrip("+").split("=")[0].split(".")[0] == "data"]
