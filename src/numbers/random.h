/* SPDX-License-Identifier: BSD-3-Clause */
/** The constants of Philox4x32-10, for the two files of this room that run its rounds. */
#pragma once

#include "syzygy/numbers.h"

#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u
enum { PHILOX_ROUNDS = 10 };
