"""In which order the modules of tests are run side by side."""

from __future__ import annotations

#: Modules that take minutes, the longest first: most of them start processes and wait for them. Tests that run side by
#: side begin with these, so that none of them is left for the end, when the other processes have nothing to do.
LONGEST = (
    "workflow/test_workflow.py",
    "training/test_killed_processes.py",
    "power/test_power.py",
    "workflow/test_machine.py",
    "test_kills.py",
    "clusters/persistent/test_persistent.py",
    "clusters/test_emulated.py",
    "workflow/test_terminal.py",
    "clusters/test_ssh.py",
    "workflow/test_readme.py",
    "clusters/test_page.py",
    "clusters/test_emulated_machine.py",
    "training/test_random_faults.py",
    "numerics/test_compiled_cache.py",
    "workflow/test_container.py",
    "clusters/ec2/test_ec2.py",
    "clusters/ec2/test_ec2_persistent.py",
    "clusters/ec2/test_preflight.py",
    "clusters/test_address.py",
    "clusters/test_local.py",
    "cli/test_settings.py",
    "compression/test_hostile.py",
    "experiments/test_link_speed.py",
    "workflow/test_s3.py",
    "doctor/test_doctor.py",
    "training/test_distributed.py",
    "planning/test_planning.py",
    "training/test_killed_clients.py",
    "training/test_faults.py",
    "numerics/test_kernels.py",
    "training/test_checkpoint.py",
    "training/test_senseless_checkpoint.py",
    "test_formats.py",
)
