/* SPDX-License-Identifier: BSD-3-Clause */
/** The compute context of a command, from the keys compute.*. */
#pragma once

#include "app.h"
#include "syzygy/model.h"

/** Precision, engine and threads as given in the input. With int8 the rest of the work is in bfloat16. */
syz_compute_options syz_app_compute_options(const syz_input *in);
/** SYZ_ERR_INPUT when compute.precision asks for 8-bit integers in a command that has no use for them. Not collective.
 */
syz_status syz_app_check_precision(const syz_app *app);
/** Apply compute.instructions. Call it before anything is computed. */
void syz_app_limit_instructions(const syz_input *in);
/**
 * syz_model_start_compute as given in the input. A command that trains continues with the engine of the run folder's
 * newest checkpoint, or warns that it cannot. Collective; agreed.
 */
syz_status syz_app_start_compute(const syz_app *app, const syz_model_config *config, bool trains, syz_compute **out);
