#!/usr/bin/env python
"""Runs a management command of the control plane."""

import os
import sys

from controlplane.managing import execute

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
    execute(sys.argv)
