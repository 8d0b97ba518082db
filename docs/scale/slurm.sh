#!/bin/sh
# A Dask cluster on Slurm: sbatch --ntasks=100 docs/scale/slurm.sh, from a checkout on a file system that all nodes share.
# Then, on the login node: make sweep SCHEDULER=$(sed -n 's/.*"address": "\(.*\)",/\1/p' scheduler.json)
#SBATCH --job-name=pendigits
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=1G
#SBATCH --time=08:00:00
rm -f scheduler.json  # of a job that was killed
.venv/bin/dask scheduler --scheduler-file scheduler.json --idle-timeout 1h &
until [ -s scheduler.json ]; do sleep 1; done
srun .venv/bin/dask worker --scheduler-file scheduler.json --nthreads 1 --death-timeout 60 --local-directory "${TMPDIR:-/tmp}"
