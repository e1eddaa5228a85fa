"""An average of the weights that lags, or none where there is a better one: the other weights of the
checkpoint.
"""

from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.patient import Patient


def examine(patient: Patient) -> list[Finding]:
    """Compare FID with that of the trained weights, or of the averages where those are asked for."""
    found = list[Finding]()
    for name, model in patient.others.items():
        other = patient.draw(weights=name)
        gain, known = patient.gain(other)
        saw = f"FID is {patient.fid():.3g} with the weights {patient.model.weights}, "
        saw += f"{patient.fid(other):.3g} {model.weights}"
        trained = name == "false"
        cause = "an average of the weights that lags behind" if trained else "weights that are not averaged"
        do = [patient.again(f"task.ema={name}")]
        if trained:
            do.append(patient.train("ema", "ema.decays=[0.995]"))
        pictures = patient.pictures({patient.model.weights: patient.draw(), model.weights: other})
        found.append(Finding(cause, "blur", strength(gain, 1, known), saw, do, None, pictures))
    return found
