/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Pieces of one modality's rows that travel around the ranks that hold the other. See infonce_pieces.c.
 *
 * `Stations` are the ranks that hold the rows that stay, `owners` those of the rows that travel; a rank may be both, or
 * nothing.
 */
#pragma once

#include "syzygy/comm.h"
#include "syzygy/nn.h"

/** A piece: its rows, the sums of exponentials (sum 2^top) of a forward round, and the gradients of a backward round.
 * One block of memory. */
typedef struct piece {
  int64_t first, n;    /**< rows of the global batch */
  float *gradient;     /**< [room, width] */
  double *sum;         /**< [room] */
  float *top;          /**< [room] */
  unsigned char *rows; /**< [room] rows of row_bytes */
} piece;

/** The travelling rows as their owner holds them. */
typedef struct piece_source {
  int64_t first, count;
  unsigned char *rows;
  double *sum;
  float *top;
} piece_source;

enum { PIECES_AT_ONCE = 2 };

typedef struct pieces {
  syz_comm *world;
  syz_request *mail;
  int64_t global_batch, width, room; /**< room: most rows of a piece */
  size_t row_bytes;
  int stations, station, owners, owner; /**< how many, and which of them this rank is (-1: none) */
  int *station_rank, *owner_rank;       /**< in world */
  int64_t parts;                        /**< pieces that begin at each station */
  int64_t rounds;                       /**< of `at_once` pieces each until all have travelled; fewer when measuring */
  int at_once;                          /**< pieces in circulation per station; 1 with a single station */
  piece train[PIECES_AT_ONCE + 1];      /**< pieces in circulation, and room for one that arrives */
  size_t forward_bytes, backward_bytes; /**< of a piece from `sum`, from `gradient` to the end */
  size_t sums_bytes;                    /**< sum and top */
} pieces;

/** has_still, has_moving [ranks]. most_rows: wanted rows per piece. Not collective. */
syz_status pieces_create(syz_comm *world, int64_t global_batch, int64_t width, size_t row_bytes, int64_t most_rows,
                         const int *has_still, const int *has_moving, pieces *out);
void pieces_destroy(pieces *p);
/** Bytes of a station; *room: most rows of a piece. */
size_t pieces_bytes(int64_t global_batch, int64_t width, size_t row_bytes, int64_t most_rows, int stations,
                    int64_t *room);

/** Called when gradients have returned: n rows of this rank from `at`; gradient [n, width]. */
typedef void (*piece_home)(void *context, int64_t at, int64_t n, float *gradient);
/** The work of a station on a piece. */
typedef void (*piece_visit)(void *context, piece *p);

/** Each piece makes one round: every station adds to its sums, which return to `source`. Collective over world. */
void pieces_forward(pieces *p, piece_source *source, piece_visit visit, void *context);
/** With the sums in `source`: gradients, zero at the start, return to their owners. They are first written to `target`
 * [count, width] (NULL: not, which needs every owner to be the station where its pieces begin), then passed to `home`.
 */
void pieces_backward(pieces *p, const piece_source *source, float *target, piece_visit visit, piece_home home,
                     void *context);
