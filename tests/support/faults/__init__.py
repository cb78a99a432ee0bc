"""Random faults, done to sessions that have a machine of their own: what is left, who is hurt, and is the status true?

``tests/end_to_end/test_random_faults.py`` runs ``python -m tests.support.faults MODE SEED COUNT`` in fresh namespaces:
/tmp, the processes, the network and the System V memory there are its own. So neighbours are safe, and what was not
there before is left behind.
"""
