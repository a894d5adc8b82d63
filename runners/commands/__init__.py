"""The commands of `sluice`, one a file: options in, a job run, its result shown. What a job does is in `pipelines`."""
