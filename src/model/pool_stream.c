/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Streams over the tokens of one object, four tokens and four heads at a time: each token is widened to float32 once
 * and used from the first-level cache, and a vector of the query's side is loaded once for several tokens.
 *
 * The order of additions is fixed (eight lanes, added in order at the end; tokens in order), so the result of an object
 * depends on that object alone. Vector types are the compiler's own, eight floats, which is one register of the oldest
 * supported instruction set.
 */
#include <math.h>
#include <string.h>

#include "pool_stream.h"

typedef float lanes __attribute__((vector_size(POOL_LANES * sizeof(float)), aligned(4), may_alias));

static inline float lane_sum(lanes v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

/* Rows t .. t + POOL_ROWS - 1 as float32 into in->rows; rows after the last and columns after the width are zero. */
static void widen_rows(const pool_tokens *in, int64_t t, int64_t dp)
{
  for (int64_t r = 0; r < POOL_ROWS; r++) {
    float *row = in->rows + r * dp;
    if (t + r >= in->tokens) {
      memset(row, 0, (size_t)dp * sizeof *row);
      continue;
    }
    if (in->act == SYZ_F32) {
      memcpy(row, (const float *)in->x + (t + r) * in->width, (size_t)in->width * sizeof *row);
    } else {
      const syz_bf16 *x = (const syz_bf16 *)in->x + (t + r) * in->width;
      for (int64_t d = 0; d < in->width; d++) row[d] = syz_bf16_to_f32(x[d]);
    }
    for (int64_t d = in->width; d < dp; d++) row[d] = 0.0f;
  }
}

void pool_scores(const pool_tokens *in, const float *u, float *score)
{
  const int64_t dp = pool_pad_width(in->width), np = pool_pad_heads(in->heads);
  for (int64_t t = 0; t < in->tokens; t += POOL_ROWS) {
    widen_rows(in, t, dp);
    for (int64_t n = 0; n < np; n += POOL_HEADS)
      for (int64_t r = 0; r < POOL_ROWS && t + r < in->tokens; r += 2) {
        const float *x0 = in->rows + r * dp, *x1 = x0 + dp, *v = u + n * dp;
        lanes sum[2][POOL_HEADS] = {{{0}}};
        for (int64_t d = 0; d < dp; d += POOL_LANES) {
          const lanes a = *(const lanes *)(x0 + d), b = *(const lanes *)(x1 + d);
          for (int h = 0; h < POOL_HEADS; h++) {
            const lanes w = *(const lanes *)(v + h * dp + d);
            sum[0][h] += a * w;
            sum[1][h] += b * w;
          }
        }
        for (int k = 0; k < 2 && t + r + k < in->tokens; k++)
          for (int h = 0; h < POOL_HEADS; h++) score[(t + r + k) * np + n + h] = lane_sum(sum[k][h]);
      }
  }
}

void pool_softmax(int64_t tokens, int64_t heads, float *score)
{
  const int64_t np = pool_pad_heads(heads);
  for (int64_t n = 0; n < heads; n++) {
    float largest = score[n];
    double sum = 0;
    for (int64_t t = 1; t < tokens; t++) largest = fmaxf(largest, score[t * np + n]);
    for (int64_t t = 0; t < tokens; t++) {
      float e = expf(score[t * np + n] - largest);
      score[t * np + n] = e;
      sum += e;
    }
    const float scale = (float)(1.0 / sum);
    for (int64_t t = 0; t < tokens; t++) score[t * np + n] *= scale;
  }
}

void pool_weighted_sum(const pool_tokens *in, const float *weight, float *out)
{
  const int64_t dp = pool_pad_width(in->width), np = pool_pad_heads(in->heads);
  memset(out, 0, (size_t)(np * dp) * sizeof *out);
  for (int64_t t = 0; t < in->tokens; t += POOL_ROWS) {
    float w[POOL_ROWS];
    widen_rows(in, t, dp);
    const float *x = in->rows;
    for (int64_t n = 0; n < in->heads; n++) {
      float *y = out + n * dp;
      for (int r = 0; r < POOL_ROWS; r++) w[r] = t + r < in->tokens ? weight[(t + r) * np + n] : 0.0f;
      for (int64_t d = 0; d < dp; d += POOL_LANES) {
        lanes sum = *(lanes *)(y + d);
        for (int r = 0; r < POOL_ROWS; r++) sum += *(const lanes *)(x + r * dp + d) * w[r];
        *(lanes *)(y + d) = sum;
      }
    }
  }
}

void pool_softmax_backward(int64_t tokens, int64_t heads, const float *p, float *ds)
{
  const int64_t np = pool_pad_heads(heads);
  for (int64_t n = 0; n < heads; n++) {
    double sum = 0;
    for (int64_t t = 0; t < tokens; t++) sum += (double)p[t * np + n] * ds[t * np + n];
    for (int64_t t = 0; t < tokens; t++) ds[t * np + n] = p[t * np + n] * (ds[t * np + n] - (float)sum);
  }
}

void pool_spread(int64_t tokens, int64_t width, int64_t heads, const float *p, const float *g, const float *ds,
                 const float *u, float *dx)
{
  const int64_t dp = pool_pad_width(width), np = pool_pad_heads(heads), whole = width / POOL_LANES * POOL_LANES;
  for (int64_t t = 0; t < tokens; t++) {
    float *out = dx + t * width;
    for (int64_t d = 0; d < whole; d += POOL_LANES) {
      lanes sum = {0};
      for (int64_t n = 0; n < heads; n++)
        sum += *(const lanes *)(g + n * dp + d) * p[t * np + n] + *(const lanes *)(u + n * dp + d) * ds[t * np + n];
      *(lanes *)(out + d) = sum;
    }
    for (int64_t d = whole; d < width; d++) {
      float sum = 0;
      for (int64_t n = 0; n < heads; n++) sum += g[n * dp + d] * p[t * np + n] + u[n * dp + d] * ds[t * np + n];
      out[d] = sum;
    }
  }
}
