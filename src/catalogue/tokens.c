/* SPDX-License-Identifier: BSD-3-Clause */
/* The mean is summed in double precision in the order of the tokens, so an object's embedding does not depend on its
 * batch. */
#include "tokens.h"

syz_status syz_embed_tokens_make(const syz_model *m, const bool *has_tower, int64_t batch, syz_embed_tokens *t)
{
  const syz_model_config *config = syz_model_get_config(m);
  int64_t most = 1;
  *t = (syz_embed_tokens){.compute = syz_model_get_compute(m)};
  for (syz_modality k = SYZ_IMAGE; k < SYZ_MODALITIES; k++) {
    const int64_t numbers = syz_model_tokens(config, k) * syz_model_width(config, k);
    if (has_tower[k] && numbers > most) most = numbers;
  }
  t->token = syz_alloc("tokens", (size_t)(batch * most), syz_dtype_size(syz_compute_act(t->compute)));
  return t->token ? SYZ_OK : SYZ_ERR_MEMORY;
}

void syz_embed_tokens_free(syz_embed_tokens *t) { syz_free(&t->token); }

void syz_embed_tokens_forward(const syz_embed_tokens *t, syz_model *m, syz_modality tower, int64_t batch,
                              const float *input, float *embedding)
{
  const syz_model_config *config = syz_model_get_config(m);
  const bool has_class_token = tower == SYZ_IMAGE && config->image.tokens == SYZ_TOKENS_DINOV2;
  const int64_t tokens = syz_model_tokens(config, tower), width = syz_model_width(config, tower);
  const int64_t n = has_class_token ? 1 : tokens;
  const bool is_f32 = syz_compute_act(t->compute) == SYZ_F32;
  syz_tower_backbone(m, tower, batch, input, t->token);
  for (int64_t b = 0; b < batch; b++)
    for (int64_t e = 0; e < width; e++) {
      double sum = 0;
      for (int64_t k = 0; k < n; k++) {
        const int64_t at = (b * tokens + k) * width + e;
        sum += (double)(is_f32 ? ((const float *)t->token)[at] : syz_bf16_to_f32(((const syz_bf16 *)t->token)[at]));
      }
      embedding[b * width + e] = (float)(sum / (double)n);
    }
}
