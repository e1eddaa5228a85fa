"""Find out why samples are bad, by experiments that separate the causes.

patient.py has what is examined, and draws images of it; examinations/ has a file for each experiment, with
its threshold; examined.py runs them and orders what they have found.
"""

from diffexp.doctor.examined import Examined, examine
from diffexp.doctor.finding import Finding
from diffexp.doctor.patient import Patient

__all__ = ["Examined", "Finding", "Patient", "examine"]
