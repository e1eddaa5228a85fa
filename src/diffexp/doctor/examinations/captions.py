"""Captions that the text encoder cuts, or of whose words it knows too few."""

from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.patient import Patient

CUT, UNKNOWN = 0.05, 0.05
"""Shares of captions that are cut, and that have a word which is not known: one in twenty images is then
trained on, or judged by, words that the network never sees.
"""
MOST = 2000


def examine(patient: Patient) -> list[Finding]:
    """Count them among captions of the training images, and unknown words also among those of validation."""
    conditioning = patient.model.conditioning
    encoder = getattr(conditioning, "encoder", None)
    if "text" not in conditioning.asks or encoder is None:
        return []
    texts = {s: list((patient.data.split(s).texts or ())[:MOST]) for s in ("train", "val")}
    if not texts["train"]:
        return []
    lengths = encoder.lengths(texts["train"])
    cut = sum(n > encoder.room for n in lengths) / len(lengths)
    saw = f"{cut:.1%} of {len(lengths):,} captions are longer than the {encoder.room} {encoder.piece} "
    saw += "that the encoder reads"
    do = [["task=data", *_data(patient)], patient.train("longer", f"text_encoder.length={2 * encoder.room}")]
    found = [Finding("captions that are cut", "condition", strength(cut, CUT), saw, do)]
    every = texts["train"] + texts["val"]
    strange = encoder.unknown(every)
    hit = sum(any(word in text.casefold().split() for word in strange) for text in every) / len(every)
    few = ", ".join(sorted(strange)[:5])
    saw = f"{hit:.1%} of {len(every):,} captions have a word that the encoder does not know" + (
        f": {few}" if few else ""
    )
    do = [["task=data", *_data(patient)]]
    return [*found, Finding("words that are not known", "condition", strength(hit, UNKNOWN), saw, do)]


def _data(patient: Patient) -> list[str]:
    return [
        text
        for text in patient.trained or ()
        if text.lstrip("+").split("=")[0].split(".")[0] in ("data", "experiment")
    ]
