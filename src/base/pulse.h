/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room base: how the clock tells the pulse which phase the main thread is in. */
#pragma once

#include "syzygy/base.h"

/** The main thread enters phase `name`, a string that outlives the program's phases; NULL: it is in none. Counts as a
 * beat. */
void syz_pulse_phase(const char *name);
