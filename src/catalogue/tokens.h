/* SPDX-License-Identifier: BSD-3-Clause */
/** Embeddings of a tower without pooling head, from its tokens: what a tower knows before it is aligned. */
#pragma once

#include "syzygy/catalogue.h"

typedef struct syz_embed_tokens {
  const syz_compute *compute; /**< borrowed */
  void *token;                /**< [batch, T, D] act of the widest tower */
} syz_embed_tokens;

/** Room for the tokens of `batch` objects of the towers in has_tower [SYZ_MODALITIES]. SYZ_ERR_MEMORY. */
syz_status syz_embed_tokens_make(const syz_model *m, const bool *has_tower, int64_t batch, syz_embed_tokens *t);
void syz_embed_tokens_free(syz_embed_tokens *t);
/**
 * input of `batch` objects -> embedding [batch, D] float32: the class token of an image tower that has one (tokens:
 * dinov2), otherwise the mean of all tokens, as AstroCLIP takes its spectrum tower alone. The tower is planned.
 */
void syz_embed_tokens_forward(const syz_embed_tokens *t, syz_model *m, syz_modality tower, int64_t batch,
                              const float *input, float *embedding);
