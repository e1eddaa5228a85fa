"""Data sets, and their batches in order."""

from diffexp.data.batch import Batch
from diffexp.data.bucketed import Bucketed
from diffexp.data.buckets import Buckets
from diffexp.data.captions import Captions, Texts
from diffexp.data.cifar10 import CIFAR10
from diffexp.data.dataset import DataSet, Images, SplitName, Splits
from diffexp.data.digits import Digits
from diffexp.data.digits_text import DigitsText
from diffexp.data.folder import Folder
from diffexp.data.latents import Latents
from diffexp.data.memory import InMemory
from diffexp.data.mix import Mix
from diffexp.data.mixed import Mixed
from diffexp.data.mnist import MNIST, FashionMNIST
from diffexp.data.npz import Npz
from diffexp.data.parquet import Parquet
from diffexp.data.shards import Shards
from diffexp.data.stream import Stream

__all__ = [
    "CIFAR10",
    "MNIST",
    "Batch",
    "Bucketed",
    "Buckets",
    "Captions",
    "DataSet",
    "Digits",
    "DigitsText",
    "FashionMNIST",
    "Folder",
    "Images",
    "InMemory",
    "Latents",
    "Mix",
    "Mixed",
    "Npz",
    "Parquet",
    "Shards",
    "SplitName",
    "Splits",
    "Stream",
    "Texts",
]
