# SPDX-License-Identifier: BSD-3-Clause
"""The attacks of tools/attack, one module a kind. Each has run(syzygy, count, seed, keep_folder), which gives counts by name, among them `failed`."""
