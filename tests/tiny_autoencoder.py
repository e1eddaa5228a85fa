"""A small autoencoder with random weights, as a codec, and as the checkpoint of a run."""

import torch

from diffexp.codecs import Autoencoded
from diffexp.model.checkpoint import write
from diffexp.networks import Autoencoder

NODE = {
    "_target_": "diffexp.networks.Autoencoder", "_partial_": True, "latent_channels": 2, "channels": 8,
    "channel_mult": [1, 2], "blocks": 1, "attention": False, "groups": 4, "dropout": 0.0,
}  # fmt: skip


def network(seed=0, channels=1):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Autoencoder(channels, 2, 8, (1, 2), groups=4)


class Tiny(Autoencoded):
    """Half the sides, two channels."""

    source = "tiny"

    def __init__(self, net=None, **options):
        super().__init__(**options)
        self.put(network() if net is None else net, "tiny")

    def sized(self, shape):
        return self.network.latent(shape), None


def run(folder, seed=0, results=None, shape=(1, 8, 8), node=None, decoder=None, net=None):
    """The folder of a run of task=autoencoder; its averaged weights are the random ones; decoder: the seed of
    another decoder; net: in place of the random one.
    """
    averaged, trained = network(seed, shape[0]).state_dict(), network(seed + 100, shape[0]).state_dict()
    if net is not None:
        averaged = trained = net.state_dict()
    if decoder is not None:
        other = network(decoder, shape[0]).state_dict()
        averaged |= {name: w for name, w in other.items() if name.startswith(("decoder.", "from_latent."))}
    about = {"format": 2, "kind": "autoencoder", "config": {}, "shape": list(shape), "step": 1}
    about |= {"autoencoder": node or NODE, "results": results or {}}
    held = {"trained": trained, "ema": [averaged], "objective": {}, "global_step": 1}
    write(folder / "checkpoints" / "last.ckpt", {"diffexp": about, **held})
    return folder
