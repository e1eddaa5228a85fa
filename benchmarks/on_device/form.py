"""How much is measured: the full form, for a GPU, and a short one, which shows on any CPU that it runs."""

from dataclasses import dataclass

from unet import CASES, Case


@dataclass(frozen=True)
class Form:
    """case: the network; batches: of training, the largest first; backend: of torch.compile; matmul: the side
    of the matrices whose product is timed; sampled, steps: images of a batch of DDIM, and its steps.

    train_batch, n, least, chunk: of part 3: its batches; images for FID, and how few they may become; images
    drawn at a time. longest: seconds of training, where there is more time.
    """

    case: Case
    batches: tuple[int, ...]
    backend: str
    rounds: int
    matmul: int
    sampled: int
    steps: int
    train_batch: int
    n: int
    least: int
    chunk: int
    longest: float


FULL = Form(
    case=Case(**vars(CASES["cifar10"]) | {"steps": 10}),
    batches=(512, 128),
    backend="inductor",
    rounds=7,
    matmul=8192,
    sampled=256,
    steps=50,
    train_batch=256,
    n=10_000,
    least=1_000,
    chunk=500,
    longest=float("inf"),
)
SHORT = Form(
    case=Case(4, 1, 8, 3, 8, (1, 2), 1, (4,), 4),
    batches=(4,),
    backend="eager",  # traces the network and compiles nothing
    rounds=3,
    matmul=64,
    sampled=4,
    steps=3,
    train_batch=16,
    n=40,
    least=20,
    chunk=20,
    longest=1.5,
)
