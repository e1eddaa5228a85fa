"""One experiment a file. Each has `examine(patient) -> list[Finding]`, [] where it has nothing to examine,
and the threshold above which its effect is a cause. A file that is here is run; nothing names it.
"""
