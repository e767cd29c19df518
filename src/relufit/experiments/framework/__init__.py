"""What experiments share: settings and trials, procedures, exact tests, curves, and the files of a run."""
