/* SPDX-License-Identifier: BSD-3-Clause */
/** InfoNCE around a ring of ranks; the functions are those of syz_infonce_* (loss.h). See infonce_ring.c and
 * infonce_pieces.c. */
#pragma once

#include "syzygy/loss.h"

typedef struct infonce_ring infonce_ring;

/** has: [2, ranks] which rank holds rows of which modality. Not collective. */
syz_status infonce_ring_create(syz_comm *world, const syz_compute *compute, const syz_infonce_config *config,
                               const int *has, infonce_ring **out);
void infonce_ring_destroy(infonce_ring **l);
void infonce_ring_rows(const infonce_ring *l, syz_modality m, int64_t *first, int64_t *count);
void infonce_ring_put(infonce_ring *l, syz_modality m, int64_t at, int64_t n, const float *embedding);
void infonce_ring_get(infonce_ring *l, syz_modality m, int64_t at, int64_t n, float *dembedding);
void infonce_ring_forward(infonce_ring *l, double scale, syz_infonce_loss *out);
/** dembedding[m] NULL: the gradient is kept for infonce_ring_get. */
void infonce_ring_backward(infonce_ring *l, float *const dembedding[SYZ_MODALITIES], double *dlog_scale);
/** Normalised rows [at, at + n) of this rank, as float32. */
void infonce_ring_normalised(const infonce_ring *l, syz_modality m, int64_t at, int64_t n, float *out);
/** Norm of row i of this rank. */
float infonce_ring_norm(const infonce_ring *l, syz_modality m, int64_t i);
/** Operations of this rank's products in the last call. */
double infonce_ring_operations(const infonce_ring *l);
syz_loss_work infonce_ring_work(const syz_compute *compute, const syz_infonce_config *config);
size_t infonce_ring_bytes(const syz_compute *compute, const syz_infonce_config *config, int image_ranks,
                          int spectrum_ranks);
