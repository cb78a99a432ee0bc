"""A LocalCluster of processes, for as long as standard input is open: ``dask_cluster.py FILE WORKERS THREADS``."""

from __future__ import annotations

import os
import sys

from distributed import LocalCluster

if __name__ == "__main__":
    path, workers, threads = sys.argv[1:]
    with LocalCluster(n_workers=int(workers), threads_per_worker=int(threads), dashboard_address=None) as cluster:
        with open(path + ".new", "w") as file:
            file.write(cluster.scheduler_address)
        os.rename(path + ".new", path)
        sys.stdin.read()
