# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""NVIDIA FLARE: protocol, executors, workflows, aggregator, filters and recipes. Only this package imports nvflare."""
