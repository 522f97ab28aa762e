/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room data: one reading at a time, on a thread of its own. */
#pragma once

#include "syzygy/base.h"

typedef struct token_ahead token_ahead;

/** What the thread runs: n rows into `to`. It calls neither MPI nor HDF5; its message stays in the thread's own error
 * text. */
typedef syz_status token_read(const void *context, int64_t n, const int64_t *row, unsigned char *to);

/** Starts the thread, which sleeps until it is asked. `context` is borrowed. Not collective. */
syz_status token_ahead_create(token_read *read, const void *context, token_ahead **out);
/** Waits for what is under way. */
void token_ahead_destroy(token_ahead **ahead);
/** Begin to read; a reading that nobody took is waited for and forgotten. The rows are copied (memory grows with the
 * largest n and is kept); `to` is the thread's until the reading is taken, or another is begun. */
syz_status token_ahead_begin(token_ahead *ahead, int64_t n, const int64_t *row, unsigned char *to);
/** Whether exactly this reading was begun: then waits for its end and gives its status and message. */
bool token_ahead_take(token_ahead *ahead, int64_t n, const int64_t *row, const unsigned char *to, syz_status *st);
