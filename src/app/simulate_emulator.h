/* SPDX-License-Identifier: BSD-3-Clause */
/** Reading a stellar-population emulator (PROVABGS) from HDF5 into plain arrays. */
#pragma once

#include "syzygy/simulator.h"

/** `path`: groups bin0 .. bin3 with W<l>, b<l>, alphas<l>, betas<l>, shifts, scales, pca_transform_matrix and wave.
 * SYZ_ERR_DATA names file, dataset, shape found and shape wanted. Not collective. */
syz_status syz_emulator_read(const char *path, syz_emulator **out);
