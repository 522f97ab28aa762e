/* SPDX-License-Identifier: BSD-3-Clause */
/** The compute context of a command, from the keys compute.*. */
#pragma once

#include "app.h"
#include "syzygy/model.h"

/** Threads a rank: compute.threads, or OMP_NUM_THREADS, or 1. */
int syz_app_threads(const syz_input *in);
/** Whether compute.precision asks for 8-bit integers. */
bool syz_app_wants_int8(const syz_input *in);
/** SYZ_ERR_INPUT when it does in a command that has no use for them. Not collective. */
syz_status syz_app_check_precision(const syz_app *app);
/** Take compute.instructions to heart; before anything computes. */
void syz_app_limit_instructions(const syz_input *in);
/** Engine and threads as the input says, with this type of activations. Not collective. */
syz_status syz_app_make_compute_of(const syz_input *in, syz_dtype act, syz_compute **out);
/**
 * What a command with a model computes with: made as the input says, and with `auto` (or native) chosen by measuring the layers of the configuration's
 * widest tower, the same on all ranks. A command that trains goes on with the engine of the run folder's newest checkpoint, or warns that it cannot.
 * Collective; agreed.
 */
syz_status syz_app_start_compute(const syz_app *app, const syz_model_config *config, bool trains, syz_compute **out);
/** What computes, and what was measured, in one line for the log. */
void syz_app_tell_compute(const syz_compute *c);
/** Precision, engine and threads as the input says; tells when ranks x threads exceed this machine's cores. With int8 the rest of the work is in
 * bfloat16. Not collective. */
syz_status syz_app_make_compute(const syz_input *in, syz_compute **out);
