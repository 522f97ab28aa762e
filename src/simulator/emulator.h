/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of the simulator: the networks of a stellar-population emulator at work. */
#pragma once

#include "syzygy/simulator.h"

/** Total number of wavelengths of the bins. */
int syz_emulator_waves(const syz_emulator *e);
/**
 * ln luminosity (Lsun/Angstrom per unit formed mass) at all wavelengths of the bins. theta [9]: three star-formation
 * coefficients (untransformed), two metallicity coefficients, dust1, dust2, dust index, age in Gyr. scratch: twice
 * syz_emulator_width floats.
 */
void syz_emulator_evaluate(const syz_emulator *e, const double theta[SYZ_EMULATOR_INPUTS], float *scratch,
                           float *ln_luminosity);
/** Largest layer width. */
int syz_emulator_width(const syz_emulator *e);
