/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Sums in an order that the global batch fixes (reproducible: true).
 *
 * The batch is cut into leaves, whose number is a power of two, and each rank has a whole number of them. The gradient
 * of a leaf is formed separately, in passes over its objects alone, from a block of zeros; then leaves are added as a
 * binary tree over their numbers: ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)). When the number of ranks is a power of
 * two, each rank's leaves are a subtree, and the ranks' sums are the leaves of the tree above it: the same additions of
 * the same numbers, however many ranks there are. a + b and b + a are the same bits, so neither the order in which a
 * rank computes its leaves nor which of two ranks adds matters.
 *
 * Gradients: src/train/leaf_gradients.c. Every other sum that enters the training is of small arrays:
 * syz_leaves_merge_f64 within a rank, syz_leaves_sum_f64 over ranks.
 */
#include "syzygy/comm.h"

/** x[i] += y[i]. */
static void add_f64(double *x, const double *y, size_t n)
{
  for (size_t i = 0; i < n; i++) x[i] += y[i];
}

void syz_leaves_merge_f64(double *of_leaf, int64_t n_leaves, size_t n)
{
  for (int64_t distance = 1; distance < n_leaves; distance *= 2)
    for (int64_t i = 0; i + distance < n_leaves; i += 2 * distance)
      add_f64(of_leaf + (size_t)i * n, of_leaf + (size_t)(i + distance) * n, n);
}

enum { TAG = 41 };

void syz_leaves_exchange(syz_request *r, int partner, const void *send, size_t send_bytes, void *receive,
                         size_t receive_bytes)
{
  if (receive_bytes) syz_request_receive(r, receive, receive_bytes, partner, TAG);
  if (send_bytes) syz_request_send(r, send, send_bytes, partner, TAG);
  syz_request_wait(r);
}

void syz_leaves_sum_f64(syz_comm *c, syz_request *r, double *x, size_t n, double *received)
{
  const int size = syz_comm_size(c), rank = syz_comm_rank(c);
  for (int distance = 1; distance < size; distance *= 2) {
    syz_leaves_exchange(r, rank ^ distance, x, n * sizeof *x, received, n * sizeof *x);
    add_f64(x, received, n);
  }
}
