/* SPDX-License-Identifier: BSD-3-Clause */
/** The compute context of a command, from the keys compute.*. */
#pragma once

#include "app.h"
#include "syzygy/nn.h"

/** Threads a rank: compute.threads, or OMP_NUM_THREADS, or 1. */
int syz_app_threads(const syz_input *in);
/** Precision, engine and threads as the input says; tells when ranks x threads exceed this machine's cores. Not collective. */
syz_status syz_app_make_compute(const syz_input *in, syz_compute **out);
