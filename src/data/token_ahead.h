/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room data: one read at a time, on a separate thread. */
#pragma once

#include "syzygy/base.h"

typedef struct token_ahead token_ahead;

/** The function that the thread runs: read n rows into `to`. It must call neither MPI nor HDF5; its message is in the
 * thread's own error text. */
typedef syz_status token_read(const void *context, int64_t n, const int64_t *row, unsigned char *to);

/** Start the thread, which sleeps until a read begins. `context` is borrowed. Not collective. */
syz_status token_ahead_create(token_read *read, const void *context, token_ahead **out);
/** Waits for a read in progress. */
void token_ahead_destroy(token_ahead **ahead);
/** Begin a read; an earlier one that was not taken is waited for and dropped. The row numbers are copied (that memory
 * grows with the largest n and is kept); the thread owns `to` until the read is taken or another one begins. */
syz_status token_ahead_begin(token_ahead *ahead, int64_t n, const int64_t *row, unsigned char *to);
/** Whether exactly this read was begun; if so, wait for its end and return its status and message. */
bool token_ahead_wait(token_ahead *ahead, int64_t n, const int64_t *row, const unsigned char *to, syz_status *st);
