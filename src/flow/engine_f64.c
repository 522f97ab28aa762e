/* SPDX-License-Identifier: BSD-3-Clause */
/** The arithmetic of engine.h in float64. */
#define REAL double
#define REAL_IS_DOUBLE 1
#define ENGINE flow_engine_f64
#include "engine_passes.h"
