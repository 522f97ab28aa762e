/* SPDX-License-Identifier: BSD-3-Clause */
/** The compute context of a command, from the keys compute.*. */
#pragma once

#include "app.h"
#include "syzygy/nn.h"

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
/** Precision, engine and threads as the input says; tells when ranks x threads exceed this machine's cores. With int8 the rest of the work is in
 * bfloat16. Not collective. */
syz_status syz_app_make_compute(const syz_input *in, syz_compute **out);
