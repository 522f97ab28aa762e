/* SPDX-License-Identifier: BSD-3-Clause */
/** The arithmetic of engine.h in float32. */
#define REAL float
#define REAL_IS_DOUBLE 0
#define ENGINE flow_engine_f32
#include "engine_passes.h"
