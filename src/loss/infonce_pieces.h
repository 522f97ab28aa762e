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

/** A piece: its rows, what a forward round gathers for each (sum 2^top of exponentials), and what a backward round
 * does. One block of memory. */
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
  int64_t rounds;                  /**< of `at_once` pieces each until all have travelled; fewer for measurements */
  int at_once;                     /**< under way from each station; 1 when there is nowhere to go */
  piece train[PIECES_AT_ONCE + 1]; /**< those under way, and room for one that arrives */
  size_t forward_bytes, backward_bytes; /**< of a piece from `sum`, from `gradient` to the end */
  size_t sums_bytes;                    /**< sum and top */
} pieces;

/** has_still, has_moving [ranks]. most_rows: wish for the rows of a piece. Not collective. */
syz_status pieces_create(syz_comm *world, int64_t global_batch, int64_t width, size_t row_bytes, int64_t most_rows,
                         const int *has_still, const int *has_moving, pieces *out);
void pieces_destroy(pieces *p);
/** Bytes of a station; *room: most rows of a piece. */
size_t pieces_bytes(int64_t global_batch, int64_t width, size_t row_bytes, int64_t most_rows, int stations,
                    int64_t *room);

/** Called when a row's gradient is home: n rows of this rank from `at`; gradient [n, width]. */
typedef void (*piece_home)(void *context, int64_t at, int64_t n, float *gradient);
/** What a station does with a piece. */
typedef void (*piece_visit)(void *context, piece *p);

/** Everything travels once: sums are added to at each station and come home to `source`. Collective over world. */
void pieces_forward(pieces *p, piece_source *source, piece_visit visit, void *context);
/** With the sums in `source`: gradients, zero at the start, come home; they are put into `target` [count, width] first
 * (NULL: not; only where every owner is the station its pieces begin at), and handed to `home`. */
void pieces_backward(pieces *p, const piece_source *source, float *target, piece_visit visit, piece_home home,
                     void *context);
